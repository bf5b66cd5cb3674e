import mqtt5
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.mqtt.reader import Delivery, PacketReader, ProtocolError, frame_length

QOS = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE)
TOPIC = "twinmeter/v1/park-1/em-001/tele"


def publish(payload=b"{}", *, topic=TOPIC, packet_id=7, qos=1, **options):
    return mqtt5.PublishPacket(topic, payload, qos=QOS[qos], packet_id=packet_id if qos else None, **options).write()


def feed_in_pieces(reader, data, sizes):
    deliveries, control, at = [], [], 0
    for size in sizes:
        control += reader.feed(data[at : at + size], deliveries)
        at += size
    control += reader.feed(data[at:], deliveries)
    return deliveries, control


messages = st.tuples(
    st.text("abz/_-µ电", min_size=1, max_size=40),
    st.binary(max_size=600),
    st.sampled_from([0, 1]),
    st.integers(1, 65535),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(messages, max_size=12), st.lists(st.integers(0, 400), max_size=20))
def test_any_cut_of_the_stream_gives_the_same_messages(wanted, sizes):
    data = b"".join(
        publish(payload, topic=topic, qos=qos, packet_id=packet_id, retain=retain, duplicate=dup and qos == 1)
        for topic, payload, qos, packet_id, retain, dup in wanted
    )
    deliveries, control = feed_in_pieces(PacketReader(), data, sizes)
    assert control == []
    assert deliveries == [
        Delivery(topic, payload, retain, dup and qos == 1, packet_id if qos else 0)
        for topic, payload, qos, packet_id, retain, dup in wanted
    ]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 65535), st.integers(0, 900)), max_size=10),
    st.lists(st.integers(0, 300), max_size=30),
)
def test_an_oversized_message_costs_its_payload_and_nothing_behind_it(wanted, sizes):
    data = b"".join(publish(b"x" * size, packet_id=packet_id) for packet_id, size in wanted)
    deliveries, _ = feed_in_pieces(PacketReader(max_packet_bytes=300), data, sizes)
    assert [(d.topic, d.packet_id) for d in deliveries] == [(TOPIC, packet_id) for packet_id, _ in wanted]
    for delivery, (packet_id, size) in zip(deliveries, wanted, strict=True):
        length = len(publish(b"x" * size, packet_id=packet_id))
        if length > 300:
            assert delivery.payload == b""
            assert delivery.fault == f"packet of {length} bytes is over the limit of 300"
        else:
            assert (delivery.payload, delivery.fault) == (b"x" * size, None)


def test_the_body_of_an_oversized_message_is_not_kept():
    reader, deliveries = PacketReader(max_packet_bytes=1000), []
    data = publish(b"x" * 5_000_000, packet_id=9) + publish(b"next", packet_id=10)
    for at in range(0, len(data), 65_536):
        reader.feed(data[at : at + 65_536], deliveries)
        assert len(reader._rest) < 1000
    assert [(d.packet_id, d.payload) for d in deliveries] == [(9, b""), (10, b"next")]


def broken_utf8():
    data = bytearray(publish(b"poison", packet_id=11))
    data[data.index(b"park")] = 0xFF
    return bytes(data)


def property_length_past_the_end():
    data = bytearray(publish(b"", packet_id=11))
    data[-1] = 0x60
    return bytes(data)


@pytest.mark.parametrize("broken", [broken_utf8(), property_length_past_the_end()], ids=["utf-8", "length"])
def test_a_broken_message_is_delivered_with_a_fault_so_that_it_can_be_acknowledged(broken):
    deliveries = []
    PacketReader().feed(broken + publish(b"good", packet_id=12), deliveries)
    assert [d.packet_id for d in deliveries] == [11, 12]
    assert deliveries[0].fault.startswith("broken packet: ")
    assert deliveries[0].payload == b""
    assert deliveries[1] == Delivery(TOPIC, b"good", False, False, 12)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (mqtt5.PublishPacket("a", b"", qos=mqtt5.QoS.EXACTLY_ONCE, packet_id=1).write(), "QoS 2"),
        (b"\x36\x02\x00\x00", "cannot be followed"),
        (b"\x30\xff\xff\xff\xff\x7f", "more than four bytes"),
        (b"\x00\x00", "reserved"),
        (b"\x20\x02\x00\x01", "CONNACK"),
        (b"\xe0\x02\x01\x00", "DISCONNECT"),
    ],
)
def test_a_stream_that_cannot_be_followed_is_a_protocol_error(data, says):
    with pytest.raises(ProtocolError, match=says):
        PacketReader().feed(data, [])


def test_control_packets_come_out_in_order():
    data = mqtt5.ConnAckPacket().write() + publish() + mqtt5.PingRespPacket().write() + mqtt5.DisconnectPacket().write()
    deliveries = []
    control = PacketReader().feed(data, deliveries)
    assert [type(packet).__name__ for packet in control] == ["ConnAckPacket", "PingRespPacket", "DisconnectPacket"]
    assert len(deliveries) == 1


@given(st.integers(0, 268_435_455))
def test_the_frame_length_is_that_of_the_fixed_header(length):
    encoded, rest = b"", length
    while True:
        rest, digit = rest >> 7, rest & 0x7F
        encoded += bytes([digit | (0x80 if rest else 0)])
        if not rest:
            break
    assert frame_length(memoryview(b"\x30" + encoded)) == 1 + len(encoded) + length
    assert frame_length(memoryview(b"\x30" + encoded[:-1])) is None
