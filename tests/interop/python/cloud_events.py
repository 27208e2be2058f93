"""Reads messages as CloudEvents in binary mode, with the official package: cloud_events.py MESSAGES.

It has no binding for NATS. That of HTTP has the same names and the same encoding of values, but for one: it takes the
type of the data from `Content-Type` alone.
"""

import json
import sys

from cloudevents.core.bindings.http import HTTPMessage, from_binary
from cloudevents.core.formats.json import JSONFormat

with open(sys.argv[1], encoding="utf-8") as file:
    messages = json.load(file)
for message in messages:
    headers = message["headers"]
    # What the binding for NATS asks first: a message with this type would be in structured mode.
    assert not headers["Content-Type"].lower().startswith("application/cloudevents"), headers
    content_type = headers.pop("ce-datacontenttype")
    assert content_type == headers["Content-Type"], headers
    event = from_binary(HTTPMessage(headers, message["body"].encode()), JSONFormat())
    attributes = event.get_attributes()
    attributes["time"] = attributes["time"].isoformat(timespec="milliseconds")
    print(json.dumps({"attributes": attributes, "data": event.get_data()}))
