"""Does with Stripe's own library for Python what it is told.

Arguments: the address of the API, the key, the version of the API. One JSON object a line comes by standard input, and one line
goes out for each: {"ok": .., "unknown": [fields that the library has no name for]}, or {"error": class, "status": .., "code": ..,
"said": ..} with the class that the library raised.

{"call": "v1.refunds.create", "with": [..]}   a method of the library's client, and its arguments
{"every": "v1.refunds.list", "with": [..]}    the names of all things in a list, however many pages it has
{"sign": BODY, "secret": ..}                  the header that the library signs a webhook with, now
{"believe": BODY, "header": .., "secret": ..} the webhook, if the library believes it
"""

import json
import sys

import stripe

address, key, version = sys.argv[1:]
client = stripe.StripeClient(
    key, base_addresses={"api": address, "files": address}, stripe_version=version, max_network_retries=0
)


def call(name, arguments):
    method = client
    for part in name.split("."):
        method = getattr(method, part)
    return method(*arguments)


def unknown(thing, at):
    """Fields that the library's own classes do not have."""
    if isinstance(thing, list):
        return [name for item in thing for name in unknown(item, at)]
    if not isinstance(thing, stripe.StripeObject):
        return []
    fields = thing.to_dict(recursive=False)
    # Where the library has no class of its own, anything may stand: metadata. The name of a class stands everywhere.
    known = {"object"}.union(*(getattr(kind, "__annotations__", {}) for kind in type(thing).__mro__))
    here = [] if type(thing) is stripe.StripeObject else [f"{at}.{name}" for name in fields if name not in known]
    return here + [name for field, value in fields.items() for name in unknown(value, f"{at}.{field}")]


def read(thing):
    return {"ok": thing.to_dict(for_json=True), "unknown": unknown(thing, type(thing).__name__)}


def do(told):
    if "call" in told:
        return read(call(told["call"], told["with"]))
    if "every" in told:
        return {"ok": [thing.id for thing in call(told["every"], told["with"]).auto_paging_iter()]}
    if "sign" in told:
        return {"ok": stripe.WebhookSignature.generate_signature_header(told["sign"], told["secret"])}
    return read(stripe.Webhook.construct_event(told["believe"], told["header"], told["secret"]))


for line in sys.stdin:
    try:
        answer = do(json.loads(line))
    except stripe.StripeError as error:
        answer = {"error": type(error).__name__, "status": error.http_status, "code": error.code, "said": str(error)}
    print(json.dumps(answer), flush=True)
