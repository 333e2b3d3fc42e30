"""A small W&B server on this machine: it keeps the rows, the summary and the configuration of each run."""

import gzip
import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

KEY = "a" * 40


class Server:
    """The runs of a server by their ids, and its address."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict]] = {}
        self.summary: dict[str, dict] = {}
        self.config: dict[str, dict] = {}
        self.url = ""

    def answer(self, path: str, body: dict) -> dict:
        if path.endswith("/file_stream"):
            return self._streamed(path.split("/")[-2], body.get("files", {}))
        operation = re.search(r"(?:query|mutation)\s+(\w+)", body.get("query", ""))
        variables = body.get("variables", {})
        answers = {
            "RunResumeStatus": self._resumed,
            "UpsertBucket": self._upserted,
            "CreateRunFiles": self._files,
        }
        answer = answers.get(operation[1] if operation else "")
        return {"data": answer(variables) if answer else {}}

    def _streamed(self, run: str, files: dict) -> dict:
        if history := files.get("wandb-history.jsonl"):
            kept = self.rows.setdefault(run, [])[: history["offset"]]
            self.rows[run] = kept + [json.loads(row) for row in history["content"]]
        if summary := files.get("wandb-summary.json"):
            self.summary[run] = json.loads(summary["content"][-1])
        return {}

    def _resumed(self, variables: dict) -> dict:
        run, bucket = variables["name"], None
        if run in self.rows:
            tail = [json.dumps(row) for row in self.rows[run][-1:]]
            counts = {"logLineCount": 0, "historyLineCount": len(self.rows[run]), "eventsLineCount": 0}
            bucket = counts | {
                "id": f"bucket-{run}",
                "name": run,
                "displayName": run,
                "summaryMetrics": json.dumps(self.summary.get(run, {})),
                "historyTail": json.dumps(tail),
                "eventsTail": "[]",
                "config": json.dumps(self.config.get(run, {})),
                "tags": [],
                "wandbConfig": '{"t": {}}',
            }
        return {"model": {"id": "p", "name": "p", "entity": {"id": "e", "name": "me"}, "bucket": bucket}}

    def _upserted(self, variables: dict) -> dict:
        run = variables["name"]
        self.config[run] = self.config.get(run, {}) | json.loads(variables["config"] or "{}")
        is_new = run not in self.rows
        self.rows.setdefault(run, [])
        project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": "me"}}
        bucket = {"id": f"bucket-{run}", "name": run, "displayName": run, "description": "", "config": "{}"}
        bucket |= {"sweepName": None, "project": project, "historyLineCount": len(self.rows[run])}
        return {"upsertBucket": {"bucket": bucket, "inserted": is_new}}

    def _files(self, variables: dict) -> dict:
        files = [{"name": name, "uploadUrl": f"{self.url}/files/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": files}}


@contextmanager
def serving():
    """A server that answers until the end of the block."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _send(self, answer: Any) -> None:
            text = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_POST(self) -> None:
            body = self._body()
            is_json = body.startswith(b"{")
            self._send(server.answer(self.path, json.loads(body) if is_json else {}))

        def do_PUT(self) -> None:
            self._body()
            self._send({})

        def log_message(self, *args: Any) -> None:
            """Prints nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
