"""Does with PayPal's own library for Python what it is told.

Arguments: the address of the API, the app's id and secret. One JSON object a line comes by standard input, and one line goes out
for each: {"ok": {"status": .., "body": as the library read it, "sent": as it came}}, or {"error": class, "status": .., "body": ..}
with the class that the library raised and what it was answered, or null where it does not tell.

{"call": "orders.create_order", "with": {"body": .., "paypal_request_id": ..}, "body": "OrderRequest"} names a method of one of the
library's controllers, its options, and the model of its body, if it has one.
"""

import json
import sys

from apimatic_core.exceptions.auth_validation_exception import AuthValidationException
from paypalserversdk import models
from paypalserversdk.api_helper import APIHelper
from paypalserversdk.configuration import Configuration, Environment, Server
from paypalserversdk.exceptions.api_exception import ApiException
from paypalserversdk.http.auth.o_auth_2 import ClientCredentialsAuthCredentials
from paypalserversdk.paypal_serversdk_client import PaypalServersdkClient

address, app, secret = sys.argv[1:]
# The library knows PayPal's two addresses and takes no other.
Configuration.environments[Environment.SANDBOX][Server.DEFAULT] = address
client = PaypalServersdkClient(
    environment=Environment.SANDBOX, client_credentials_auth_credentials=ClientCredentialsAuthCredentials(app, secret)
)


def model(name):
    """The class `OrderRequest` is in the module `order_request`."""
    module = "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("_")
    return getattr(__import__(f"{models.__name__}.{module}", fromlist=[name]), name)


def do(told):
    controller, method = told["call"].split(".")
    options = dict(told["with"])
    if "body" in told:
        options["body"] = model(told["body"]).from_dictionary(options["body"])
    answer = getattr(getattr(client, controller), method)(options)
    read = json.loads(APIHelper.json_serialize(answer.body))
    return {"status": answer.status_code, "body": read, "sent": json.loads(answer.text)}


for line in sys.stdin:
    try:
        answer = {"ok": do(json.loads(line))}
    except AuthValidationException as error:
        answer = {"error": type(error).__name__, "status": None, "body": None}
    except ApiException as error:
        answer = {"error": type(error).__name__, "status": error.response_code, "body": json.loads(error.response.text)}
    print(json.dumps(answer), flush=True)
