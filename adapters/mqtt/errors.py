"""What can go wrong between us and the broker, told apart by what the caller should do about it."""

from __future__ import annotations


class MqttError(Exception):
    """Anything that went wrong with the broker."""


class ConnectionDroppedError(MqttError):
    """The connection is gone or never came up; trying again later is right."""


class BrokerRefusedError(MqttError):
    """The broker will not serve us as configured (credentials, rights, protocol); trying again changes nothing."""


class SessionTakenOverError(MqttError):
    """Another client uses our client id, or we may no longer use it: stop, do not fight over the session."""


class PublishFailedError(MqttError):
    """The broker did not confirm a message in time, or refused it; the message says which."""
