import ssl

import pytest

from adapters.mqtt.address import BrokerAddress


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://broker", BrokerAddress("broker", 1883)),
        ("mqtts://broker", BrokerAddress("broker", 8883, tls=True)),
        ("mqtt://10.0.0.1:1884/", BrokerAddress("10.0.0.1", 1884)),
        ("mqtt://[::1]:1999", BrokerAddress("::1", 1999)),
        ("mqtt://[::1]", BrokerAddress("::1", 1883)),
        ("mqtt://u:p%40ss%2Fw@h:1", BrokerAddress("h", 1, username="u", password="p@ss/w")),
        (
            "mqtts://h?ca=/a.pem&cert=/b.pem&key=/c.key",
            BrokerAddress("h", 8883, True, None, None, "/a.pem", "/b.pem", "/c.key"),
        ),
    ],
)
def test_a_url_names_broker_user_and_certificates(url, expected):
    assert BrokerAddress.parse(url) == expected


def test_settings_win_over_the_url():
    address = BrokerAddress.parse("mqtt://u:old@h", username="v", password="new")
    assert (address.username, address.password) == ("v", "new")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://h", "http:"),
        ("broker:1883", "broker:"),
        ("mqtt://", "no host"),
        ("mqtt://h:0", "port '0'"),
        ("mqtt://h:70000", "port '70000'"),
        ("mqtt://h:x", "port 'x'"),
        ("mqtt://h/topic", "path '/topic'"),
        ("mqtts://h?keepalive=5", "'keepalive'"),
        ("mqtt://h?ca=/a.pem", "mqtts:"),
        ("mqtts://h?key=/a.key", "cert=FILE"),
    ],
)
def test_a_wrong_url_says_what_would_be_right(url, says):
    with pytest.raises(ValueError, match="URL") as caught:
        BrokerAddress.parse(url)
    assert says in str(caught.value)


def test_the_password_is_never_shown():
    address = BrokerAddress.parse("mqtt://user:s3cret@h")
    assert "s3cret" not in f"{address} {address!r} {[address]}"
    with pytest.raises(ValueError, match="port") as caught:
        BrokerAddress.parse("mqtt://user:s3cret@h:bad")
    assert "s3cret" not in str(caught.value)


def test_tls_is_at_least_1_2_with_host_names_checked():
    assert BrokerAddress.parse("mqtt://h").tls_context() is None
    context = BrokerAddress.parse("mqtts://h").tls_context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED


def test_a_missing_certificate_is_named():
    with pytest.raises(ValueError, match=r"ca=/nowhere\.pem"):
        BrokerAddress.parse("mqtts://h?ca=/nowhere.pem").tls_context()
