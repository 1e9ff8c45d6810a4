"""Puts the next Endpoint document into an environment, and asks for its merge.

promotion.py write ENV NEXT            the document and its place, into terraform/environments
promotion.py open ENV NEXT [REPORT]    a branch with them and a pull request, with the report in its body; prints its address
"""
# ruff: noqa: T201 - what these scripts print is what the workflow reads

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from llmops_shared.contracts import Report
from llmops_shared.contracts.endpoint import Endpoint
from llmops_shared.documents import document_uri, read_document
from llmops_shared.store import store_for

ENVIRONMENTS = Path("terraform/environments")
AUTHOR = ("-c", "user.name=github-actions[bot]", "-c", "user.email=41898282+github-actions[bot]@users.noreply.github.com")


def write(environment: str, uri: str) -> list[Path]:
    """Copies the document and names it in the environment's YAML. Fails where the YAML has no endpoint yet: the first is a person's."""
    settings = ENVIRONMENTS / f"{environment}.yaml"
    text = settings.read_text(encoding="utf-8")
    named = re.search(r"^  endpoint: *(\S+)", text, re.MULTILINE)
    if named is None or not re.search(r"^  endpoint_uri: *\S+", text, re.MULTILINE):
        sys.exit(f"{settings}: has no serving.endpoint and serving.endpoint_uri; write the first document by hand (terraform/README.md, 5)")
    place = document_uri(uri, Endpoint)
    read_document(place, Endpoint)
    document = Path(named[1])
    document.parent.mkdir(parents=True, exist_ok=True)
    document.write_bytes(store_for(place).read(place))
    settings.write_text(re.sub(r"^(  endpoint_uri: *)\S+", rf"\g<1>{uri.rstrip('/')}", text, flags=re.MULTILINE), encoding="utf-8")
    return [settings, document]


def body_of(endpoint: Endpoint, report: Report | None) -> str:
    """What a reviewer has to know: the variants, the verdict, its reasons and figures."""
    lines = [f"Generation {endpoint.generation} of `{endpoint.name}`: {endpoint.reason}", ""]
    lines += ["| variant | package | weight | shadow |", "|---|---|---|---|"]
    lines += [
        f"| {item.name} | `{item.package.sha256[:12]}` | {item.weight:g} | {'yes' if item.shadow else ''} |" for item in endpoint.variants
    ]
    if report is not None:
        lines += ["", f"**{report.name}: {report.verdict}**", "", *(f"- {reason}" for reason in report.reasons), ""]
        lines += ["| metric | value | interval | rows |", "|---|---|---|---|"]
        for item in report.measurements:
            interval = "" if item.low is None or item.high is None else f"{item.low:.4g} to {item.high:.4g}"
            lines.append(f"| {item.name} | {item.value:.4g} | {interval} | {item.num_rows} |")
    return "\n".join(lines)


def git(*words: str) -> str:
    """git's answer."""
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout.strip()


def push(branch: str, paths: list[str], message: str, token: str) -> None:
    """A commit of these files on a branch of its own. The token is in git's environment, in no file and on no command line."""
    git("switch", "--force-create", branch)
    git("add", "--", *paths)
    git(*AUTHOR, "commit", "--message", message)
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    helper = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "credential.helper", "GIT_TERMINAL_PROMPT": "0"}
    helper["GIT_CONFIG_VALUE_0"] = '!f() { echo username=x-access-token; echo "password=$GIT_TOKEN"; }; f'
    remote = os.environ.get("GIT_REMOTE", f"{server}/{os.environ['GITHUB_REPOSITORY']}.git")
    subprocess.run(
        ["git", "push", "--force", remote, f"HEAD:refs/heads/{branch}"], check=True, env={**os.environ, **helper, "GIT_TOKEN": token}
    )


def open_pull_request(branch: str, title: str, body: str, token: str) -> str:
    """Its address; that of the one that is open already, where there is one."""
    repository, api = os.environ["GITHUB_REPOSITORY"], os.environ.get("GITHUB_API_URL", "https://api.github.com")
    headers = {"Accept": "application/vnd.github+json", "Authorization": f"Bearer {token}", "X-GitHub-Api-Version": "2022-11-28"}
    content = json.dumps({"title": title, "head": branch, "base": "main", "body": body[:65_000]}).encode()
    request = urllib.request.Request(f"{api}/repos/{repository}/pulls", content, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(json.load(answer)["html_url"])
    except urllib.error.HTTPError as error:
        if error.code != 422:  # GitHub's answer where the branch has an open pull request
            sys.exit(f"GitHub opens no pull request ({error.code} {error.reason}): may workflows create them in this repository?")
        owner = repository.split("/")[0]
        with urllib.request.urlopen(
            urllib.request.Request(f"{api}/repos/{repository}/pulls?head={owner}:{branch}&state=open", headers=headers), timeout=30
        ) as answer:
            return str(json.load(answer)[0]["html_url"])


def main() -> None:
    """Runs one of the two."""
    action, environment, uri, *rest = sys.argv[1:]
    paths = write(environment, uri)
    if action == "write":
        return
    endpoint = read_document(document_uri(uri, Endpoint), Endpoint)
    report = read_document(document_uri(rest[0], Report), Report) if rest and rest[0] else None
    title = f"{environment}: {endpoint.name}, generation {endpoint.generation}"
    branch, token = f"promote/{environment}-{endpoint.name}-{endpoint.generation}", os.environ["GITHUB_TOKEN"]
    push(branch, [str(path) for path in paths], f"{title}\n\n{endpoint.reason}", token)
    print(open_pull_request(branch, title, body_of(endpoint, report), token))


if __name__ == "__main__":
    main()
