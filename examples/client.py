# SPDX-License-Identifier: Apache-2.0
"""python client.py MODEL DIR: converts a Keras model with h5pt, watches, and checks what it gets.

$H5PT_URL is the service (http://localhost:8080), $H5PT_KEY the key if it has any."""
import hashlib
import json
import os
import pathlib
import sys

import requests

url, session = os.environ.get("H5PT_URL", "http://localhost:8080"), requests.Session()
if "H5PT_KEY" in os.environ:
    session.headers["Authorization"] = "Bearer " + os.environ["H5PT_KEY"]
model, out = map(pathlib.Path, sys.argv[1:])

with model.open("rb") as file:
    answer = session.post(url + "/v1/conversions", data=file, headers={"Content-Type": "application/octet-stream"})
job = answer.json()
if not answer.ok:
    sys.exit("%s: %s" % (job["code"], job["detail"]))

while job["state"] in ("queued", "running"):  # a stream that breaks off is taken up again
    with session.get(url + answer.headers["Location"] + "/events", stream=True, timeout=60) as events:
        for line in events.iter_lines(decode_unicode=True):
            if line.startswith("data: "):
                data = json.loads(line.removeprefix("data: "))
                job = data if "id" in data else {**job, **data}
                print(job["state"], job["stage"] or "", file=sys.stderr)

out.mkdir(parents=True, exist_ok=True)
for artifact in job["artifacts"]:
    content = session.get(url + artifact["href"]).content
    assert hashlib.sha256(content).hexdigest() == artifact["sha256"], artifact["name"] + " was damaged on the way"
    (out / artifact["name"]).write_bytes(content)

report = json.loads((out / "report.json").read_text()) if (out / "report.json").exists() else {"verdict": job["state"], "refusals": [job["error"]]}
print(report["verdict"], "largest difference from Keras:", (report.get("parity") or {}).get("max_abs"))
for reason in report["refusals"]:
    print(reason["code"], reason.get("layer"), reason.get("message") or reason.get("detail"))
sys.exit(report["verdict"] != "converted")
