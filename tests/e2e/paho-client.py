"""Talks to a broker with Eclipse Paho as an application would, and prints what came of it as one line of JSON.

Usage: paho-client.py <port> <3.1|3.1.1|5>
"""

import json
import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PORT = int(sys.argv[1])
VERSION = sys.argv[2]
PROTOCOL = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}[VERSION]
TOPIC = f"paho/{VERSION}/value"


def properties(packet_type, **values):
    if VERSION != "5":
        return None
    result = Properties(packet_type)
    for name, value in values.items():
        setattr(result, name, value)
    return result


def described(message):
    told = {"topic": message.topic, "payload": message.payload.decode(), "qos": message.qos, "retain": message.retain}
    if VERSION == "5":
        told["properties"] = message.properties.json()
    return told


def code(reason):
    return reason.value if hasattr(reason, "value") else reason


def main():
    events = queue.Queue()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"paho-{VERSION}", protocol=PROTOCOL)
    client.on_connect = lambda _c, _u, _f, reason, props: events.put(("connect", code(reason), props))
    client.on_subscribe = lambda _c, _u, _m, reasons, _p: events.put(("subscribe", [code(reason) for reason in reasons], None))
    client.on_unsubscribe = lambda _c, _u, _m, reasons, _p: events.put(("unsubscribe", [code(reason) for reason in reasons], None))
    client.on_publish = lambda _c, _u, _m, reason, _p: events.put(("publish", code(reason), None))
    client.on_message = lambda _c, _u, message: events.put(("message", described(message), None))
    client.on_disconnect = lambda _c, _u, _f, reason, _p: events.put(("disconnect", code(reason), None))

    told = {"published": [], "messages": []}

    def awaited(wanted):
        while True:
            kind, value, more = events.get(timeout=10)
            if kind == "publish":
                told["published"].append(value)
            elif kind == "message":
                told["messages"].append(value)
            if kind == wanted:
                return value, more

    if VERSION == "5":
        client.connect("127.0.0.1", PORT, 30, clean_start=True, properties=properties(PacketTypes.CONNECT, SessionExpiryInterval=60))
    else:
        client.connect("127.0.0.1", PORT, 30)
    client.loop_start()
    told["connect"], connack = awaited("connect")
    if VERSION == "5":
        told["connack"] = connack.json()
        client.subscribe(TOPIC, options=SubscribeOptions(qos=2), properties=properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=7))
    else:
        client.subscribe(TOPIC, qos=2)
    told["subscribe"], _ = awaited("subscribe")
    for qos in (0, 1, 2):
        sent = properties(PacketTypes.PUBLISH, ContentType="text/plain", UserProperty=[("qos", str(qos))], MessageExpiryInterval=60)
        client.publish(TOPIC, f"value {qos}", qos=qos, properties=sent)
        awaited("message")
    while len(told["published"]) < 3:
        awaited("publish")
    if VERSION == "5":
        client.publish("$SYS/broker/value", "refused", qos=1)
        told["refused"], _ = awaited("publish")
        told["published"].pop()
    client.unsubscribe(TOPIC)
    told["unsubscribe"], _ = awaited("unsubscribe")
    client.disconnect()
    told["disconnect"], _ = awaited("disconnect")
    client.loop_stop()
    print(json.dumps(told))


main()
