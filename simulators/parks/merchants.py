"""Merchants of the example park: plausible names in Chinese and English, unique within a park."""

from __future__ import annotations

from random import Random

Name = tuple[str, str]

_RESTAURANTS: tuple[tuple[Name, ...], tuple[Name, ...]] = (
    (
        ("老王", "Lao Wang"),
        ("蜀香", "Shuxiang"),
        ("湘里人家", "Hunan Home"),
        ("东北人", "Dongbei"),
        ("兰州", "Lanzhou"),
        ("渝味", "Yuwei"),
        ("潮汕", "Chaoshan"),
        ("新疆", "Xinjiang"),
        ("江南", "Jiangnan"),
        ("李记", "Li's"),
    ),
    (
        ("面馆", "Noodles"),
        ("火锅", "Hotpot"),
        ("饺子馆", "Dumplings"),
        ("麻辣烫", "Malatang"),
        ("烧烤", "Barbecue"),
        ("砂锅粥", "Claypot Congee"),
        ("小炒", "Kitchen"),
    ),
)
_SHOPS: tuple[tuple[Name, ...], tuple[Name, ...]] = (
    (
        ("万家", "Wanjia"),
        ("惠民", "Huimin"),
        ("晨光", "Morning Light"),
        ("佳美", "Jiamei"),
        ("鑫源", "Xinyuan"),
        ("百合", "Lily"),
        ("金桥", "Golden Bridge"),
        ("宏达", "Hongda"),
    ),
    (
        ("便利店", "Convenience Store"),
        ("水果店", "Fruits"),
        ("药房", "Pharmacy"),
        ("服饰", "Clothing"),
        ("数码", "Digital"),
        ("文具店", "Stationery"),
        ("眼镜店", "Opticians"),
        ("五金店", "Hardware"),
    ),
)
_OFFICES: tuple[tuple[Name, ...], tuple[Name, ...]] = (
    (
        ("云帆", "Yunfan"),
        ("博远", "Boyuan"),
        ("启明", "Qiming"),
        ("天成", "Tiancheng"),
        ("创想", "Chuangxiang"),
        ("恒信", "Hengxin"),
        ("智汇", "Zhihui"),
    ),
    (
        ("科技", "Technology"),
        ("设计", "Design Studio"),
        ("会计事务所", "Accountants"),
        ("律师事务所", "Law Firm"),
        ("广告", "Advertising"),
        ("贸易", "Trading"),
        ("教育", "Education"),
    ),
)
_CAFES: tuple[tuple[Name, ...], tuple[Name, ...]] = (
    (
        ("慢时光", "Slow Time"),
        ("麦香", "Maixiang"),
        ("半日闲", "Half-Day"),
        ("小满", "Xiaoman"),
        ("拾光", "Shiguang"),
        ("南山", "Nanshan"),
        ("初见", "Chujian"),
    ),
    (("咖啡", "Coffee"), ("烘焙坊", "Bakery"), ("奶茶", "Milk Tea"), ("茶舍", "Tea House"), ("甜品", "Desserts")),
)
_STALLS: tuple[tuple[Name, ...], tuple[Name, ...]] = (
    (
        ("阿芳", "A Fang's"),
        ("小赵", "Xiao Zhao's"),
        ("陈姐", "Sister Chen's"),
        ("老刘", "Lao Liu's"),
        ("阿强", "A Qiang's"),
    ),
    (
        ("修鞋铺", "Shoe Repair"),
        ("手机维修", "Phone Repair"),
        ("裁缝店", "Tailor"),
        ("花店", "Flowers"),
        ("报刊亭", "Newsstand"),
    ),
)
_ANCHORS: tuple[tuple[Name, ...], tuple[Name, ...]] = (
    (("金辉", "Jinhui"), ("星河", "Galaxy"), ("永安", "Yong'an")),
    (
        ("超市", "Supermarket"),
        ("健身中心", "Fitness Club"),
        ("影城", "Cinema"),
        ("儿童乐园", "Kids' World"),
        ("冷库", "Cold Store"),
    ),
)
_STOCK = {
    "restaurants": _RESTAURANTS,
    "shops": _SHOPS,
    "offices": _OFFICES,
    "cafes": _CAFES,
    "stalls": _STALLS,
    "anchors": _ANCHORS,
}


def merchant_names(trade: str, count: int, rng: Random) -> list[Name]:
    """`count` different `(Chinese, English)` names of one trade. Raises ValueError when the trade has too few."""
    firsts, seconds = _STOCK[trade]
    pairs = [(first, second) for first in firsts for second in seconds]
    if count > len(pairs):
        raise ValueError(f"{trade} has {len(pairs)} names, fewer than the {count} asked for")
    return [(first[0] + second[0], f"{first[1]} {second[1]}") for first, second in rng.sample(pairs, count)]
