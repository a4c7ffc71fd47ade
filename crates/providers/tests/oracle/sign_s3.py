"""The signature of a request to S3, computed by Amazon's own library.

Arguments: method, URL as it was sent, secret, region. The headers come by standard input, one `name: value` a line.
"""

import sys
from urllib.parse import parse_qs, urlsplit

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

method, url, secret, region = sys.argv[1:]
sent = dict(line.rstrip("\n").split(": ", 1) for line in sys.stdin)
unsigned = "&".join(part for part in urlsplit(url).query.split("&") if not part.startswith("X-Amz-Signature="))
query = {name: values[0] for name, values in parse_qs(unsigned, keep_blank_values=True).items()}
key = query["X-Amz-Credential"].split("/")[0]
names = query["X-Amz-SignedHeaders"].split(";")
request = AWSRequest(method=method, url=url.split("?")[0] + "?" + unsigned, headers={name: sent[name] for name in names})
request.context["timestamp"] = query["X-Amz-Date"]
auth = S3SigV4QueryAuth(Credentials(key, secret), "s3", region)
print(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))
