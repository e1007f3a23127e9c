"""What bento, container, Kubernetes and nginx are told holds for the program as it is."""

from __future__ import annotations

import ast
import contextlib
import fnmatch
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tools import need, own_port
from trained import ORIGIN

from command.demo import free_port, serve_command
from features.home import Home

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
OURS = ("features", "training", "serving")
NOT_IMPORTED = {"uvloop", "httptools", "hiredis"}  # used where they are found; faster
NOT_LISTED = {"purposeful-feeds", "pydantic-core"}  # the sources themselves; a part of pydantic


def lines(file: str) -> list[str]:
    return [one for one in (DEPLOY / file).read_text().splitlines() if not one.startswith("#")]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def environment_read() -> set[str]:
    """Every name of ours that the program looks for in its environment."""
    texts = [f.read_text() for one in (*OURS, "command") for f in (ROOT / one).rglob("*.py")]
    return {name for text in texts for name in re.findall(r'"(FEEDS_[A-Z_]+)"', text)}


class TestTheRequirementsOfAWorker:
    def test_are_in_the_versions_that_the_tests_pass_with(self):
        pins = {canonical(one) for one in (ROOT / "constraints.txt").read_text().splitlines()}
        assert {canonical(one) for one in lines("requirements.txt")} <= pins

    def test_are_what_it_imports(self):
        lazily = "serving.redis_state, training.rankers.onnx_model, features.expressions"
        run = subprocess.run(
            [sys.executable, "-c", f"import sys, serving.service, {lazily}; print(*[one.__file__ "
             f"for name, one in sys.modules.items() if name.startswith({OURS})])"],
            capture_output=True, text=True, cwd=ROOT, check=True,
        )  # fmt: skip
        modules = {name for file in run.stdout.split() for name in imported(Path(file))}
        installed = packages_distributions()
        needed = {canonical(installed[name][0]) for name in modules if name in installed}
        listed = {canonical(one.split("==")[0]) for one in lines("requirements.txt")}
        assert needed - NOT_LISTED == listed - NOT_IMPORTED


def imported(file: Path) -> set[str]:
    """The packages that a module needs to be imported."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {one.name.split(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found - set(OURS)


class TestTheContainer:
    def test_is_made_of_files_that_are_there_and_let_through(self):
        ignore = (ROOT / ".dockerignore").read_text().splitlines()
        kept = [one[1:] for one in ignore if one.startswith("!")]
        copied = [one for line in lines("Containerfile") if line.startswith("COPY")
                  for one in line.split()[1:-1] if one != "."]  # fmt: skip
        assert copied
        for one in copied:
            assert (ROOT / one).exists(), one
            assert any(fnmatch.fnmatch(one, pattern) for pattern in kept), one

    def test_sets_only_what_the_program_reads(self):
        named = re.findall(r"\b(FEEDS_[A-Z_]+)=", (DEPLOY / "Containerfile").read_text())
        assert "FEEDS_HOME" in named
        assert set(named) <= environment_read()

    def test_has_one_worker_since_a_second_would_not_be_started_again(self):
        text = (DEPLOY / "Containerfile").read_text()
        assert "FEEDS_WORKERS=1" in text
        assert "BENTOML_CONTAINERIZED=true" in text


@pytest.fixture(scope="module")
def manifests() -> dict[tuple[str, str], dict[str, Any]]:
    """(kind, name) -> manifest, of all files that kustomize is told of."""
    listed = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())["resources"]
    files = {f.name for f in (DEPLOY / "kubernetes").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(listed) == files
    found = [one for name in listed
             for one in yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text())]  # fmt: skip
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


@pytest.fixture(scope="module")
def pods(manifests) -> dict[str, dict[str, Any]]:
    """Name -> what its pods are to be."""
    specs = {name: one["spec"] for (_, name), one in manifests.items() if "spec" in one}
    specs["feeds"] = manifests["Deployment", "feeds"]["spec"]
    specs["feeds-redis"] = manifests["StatefulSet", "feeds-redis"]["spec"]
    specs["feeds-retrain"] = specs["feeds-retrain"]["jobTemplate"]["spec"]
    return {name: spec["template"]["spec"] for name, spec in specs.items() if "template" in spec}


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


class TestKubernetes:
    def test_sets_only_what_the_program_reads(self, pods):
        for name in ("feeds", "feeds-retrain"):
            env = {one["name"] for one in pods[name]["containers"][0]["env"]}
            ours = {one for one in env if one.startswith("FEEDS_")}
            assert ours
            assert ours <= environment_read()

    def test_probes_what_the_service_answers(self, pods, service):
        (container,) = pods["feeds"]["containers"]
        probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness",
                                                                     "liveness")]  # fmt: skip
        assert [one["path"] for one in probes] == ["/livez", "/readyz", "/livez"]
        assert {service.get(one["path"]).status_code for one in probes} == {200}
        assert {one["port"] for one in probes} == {container["ports"][0]["name"]}

    def test_has_several_replicas_of_one_worker_and_a_state_that_they_share(self, manifests, pods):
        deployment = manifests["Deployment", "feeds"]
        env = {one["name"]: one for one in pods["feeds"]["containers"][0]["env"]}
        assert deployment["spec"]["replicas"] >= 2
        assert env["FEEDS_WORKERS"]["value"] == "1"
        assert "FEEDS_STATE" in env
        budget = manifests["PodDisruptionBudget", "feeds"]["spec"]
        assert budget["minAvailable"] < deployment["spec"]["replicas"]

    def test_sets_redis_up_as_the_page_on_the_state_says(self, pods):
        (container,) = pods["feeds-redis"]["containers"]
        told = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
        page = (ROOT / "docs" / "state.md").read_text()
        advice = re.search(r"Set up Redis so:.*?```conf\n(.*?)```", page, re.DOTALL).group(1)
        for line in advice.splitlines():
            name, value = line.split()
            assert told[f"--{name}"] == value

    def test_mounts_only_what_there_is(self, manifests, pods):
        claims = {name for kind, name in manifests if kind == "PersistentVolumeClaim"}
        for pod in pods.values():
            volumes = {one["name"]: one for one in pod.get("volumes", [])}
            used = {one["name"] for c in containers(pod) for one in c["volumeMounts"]}
            assert used <= {*volumes, "data"}  # data: a claim of Redis's own
            for one in volumes.values():
                if "persistentVolumeClaim" in one:
                    assert one["persistentVolumeClaim"]["claimName"] in claims

    def test_runs_nothing_as_root_and_writes_to_no_root_file_system(self, pods):
        for pod in pods.values():
            assert pod["securityContext"]["runAsNonRoot"]
            assert pod["automountServiceAccountToken"] is False
            for one in containers(pod):
                assert one["securityContext"]["readOnlyRootFilesystem"], one["name"]
                assert not one["securityContext"]["allowPrivilegeEscalation"]
        user = re.search(r"--uid (\d+)", (DEPLOY / "Containerfile").read_text()).group(1)
        assert pods["feeds"]["securityContext"]["runAsUser"] == int(user)

    def test_selects_the_pods_that_it_starts(self, manifests):
        labels = manifests["Deployment", "feeds"]["spec"]["template"]["metadata"]["labels"]
        for kind in ("Service", "PodDisruptionBudget"):
            selector = manifests[kind, "feeds"]["spec"]["selector"]
            assert selector.get("matchLabels", selector) == labels


@pytest.fixture(scope="module")
def proxy(guarded, tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """nginx with deploy/nginx.conf before a service and a host that is away; its URL and log."""
    need("nginx", "openssl")
    place, port = tmp_path_factory.mktemp("nginx"), own_port(3458)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=feeds.example.com", "-keyout", place / "tls.key", "-out", place / "tls.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    changes = {
        "10.0.0.11:3000": guarded.url.removeprefix("http://"),
        "10.0.0.21 1;": "127.0.0.1 1;",
        "10.0.0.12:3000": f"127.0.0.1:{free_port(0)}",
        "listen 443": f"listen 127.0.0.1:{port}",
        "/etc/nginx/tls": str(place), "/var/log/nginx": str(place),
        "/run/nginx.pid": str(place / "nginx.pid"),
        "buffer=64k flush=5s": "", "burst=60": "burst=9000",
        "http {": f"http {{ client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;"
                  f"fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u;"
                  f"scgi_temp_path {place}/s;",
    }  # fmt: skip
    text = (DEPLOY / "nginx.conf").read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    config = place / "nginx.conf"
    config.write_text(text)
    test = subprocess.run(["nginx", "-t", "-q", "-c", config], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert test.returncode == 0, test.stderr
    with subprocess.Popen(["nginx", "-c", config, "-g", "daemon off;"]) as process:
        try:
            await_port(port)
            yield f"https://127.0.0.1:{port}", place / "access.log"
        finally:
            process.terminate()


def await_port(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            probe.settimeout(0.1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nobody listens on port {port}")


@pytest.fixture
def through(proxy, guarded) -> Iterator[httpx.Client]:
    """The shop's own server, asking through nginx."""
    trust = ssl.create_default_context(cafile=proxy[1].with_name("tls.crt"))
    trust.check_hostname = False
    headers = guarded.bearer("boss")
    with httpx.Client(base_url=proxy[0], verify=trust, headers=headers, timeout=5) as client:
        yield client


def test_hosts_that_share_a_home_count_into_files_of_their_own(tmp_path, monkeypatch):
    places = []
    for host in ("pod-1.", "pod-2."):
        monkeypatch.setenv("FEEDS_HOST", host)
        _, environment = serve_command(Home(tmp_path), port=3000, workers=1)
        assert environment["FEEDS_HOST"] == host
        places.append(environment["BENTOML_HOME"])
    assert places == [str(tmp_path / "bentoml" / host) for host in ("pod-1.", "pod-2.")]


class TestBehindNginx:
    def test_nobody_notices_that_one_of_two_hosts_is_away(self, through):
        event = {"item_id": "a", "event_type": "view", "visitor_id": "through-nginx"}
        for _ in range(10):
            assert through.post("/feed", json={"placement": "home"}).status_code == 200
            assert through.post("/events", json={"events": [event]}).status_code == 202

    @pytest.mark.parametrize("path", ["/metrics", "/docs.json", "/readyz", "/", "/feed/more"])
    def test_what_is_meant_for_the_inside_stays_inside(self, through, path):
        assert through.get(path).status_code == 404

    def test_a_link_of_a_mail_needs_no_key_and_is_in_no_log(self, proxy, guarded):
        with shopper(proxy, guarded, "127.0.0.6") as reader:
            told = httpx.Client.get(reader, "/r/made-up", headers={"authorization": ""})
            posted = reader.post("/r/made-up")
        assert (told.status_code, posted.status_code) == (404, 403)
        assert "This link does not work." in told.text
        assert "made-up" not in proxy[1].read_text()

    def test_a_body_beyond_the_limit_gets_no_further(self, through):
        told = through.post("/events", content=b"x" * 1_100_000)
        assert told.status_code == 413

    def test_a_shoppers_address_is_their_own_and_not_that_of_nginx(self, proxy, guarded):
        many, other = (shopper(proxy, guarded, address) for address in ("127.0.0.2", "127.0.0.3"))
        with many, other:
            codes = (many.post("/feed", json={"placement": "home"}).status_code
                     for _ in range(260))  # fmt: skip
            assert next(codes) == 200
            assert 429 in codes  # 120 a minute, and a minute may begin between
            assert other.post("/feed", json={"placement": "home"}).status_code == 200

    def test_the_shops_own_server_has_no_limit(self, through):
        codes = {through.post("/feed", json={"placement": "home"}).status_code for _ in range(150)}
        assert codes == {200}  # a shopper gets 60 at once and 20 a second

    @pytest.mark.parametrize("path", ["/forget", "/catalogue"])
    def test_only_the_shops_own_server_gets_to_what_is_for_it(self, proxy, guarded, through, path):
        body = {"visitor_id": "nginx-1"} if path == "/forget" else {
            "items": [{"item_id": "SKU-00001", "available": True}]}  # fmt: skip
        assert through.post(path, json=body).status_code == 200
        with shopper(proxy, guarded, "127.0.0.5") as elsewhere:
            assert (
                elsewhere.post(path, json=body, headers=guarded.bearer("boss")).status_code == 404
            )

    def test_the_key_of_a_page_is_in_no_log(self, proxy, guarded):
        with shopper(proxy, guarded, "127.0.0.4") as page:
            assert page.post("/feed", json={"placement": "home"}).status_code == 200
        log = proxy[1].read_text()
        assert "POST /feed" in log
        assert guarded.keys["page"] not in log


def shopper(proxy, guarded, address: str) -> httpx.Client:
    """A browser on a page of the shop."""
    transport = httpx.HTTPTransport(verify=False, local_address=address)
    return httpx.Client(
        base_url=proxy[0], transport=transport, headers={"origin": ORIGIN},
        params={"key": guarded.keys["page"]},
    )  # fmt: skip


@pytest.mark.long
class TestTheBento:
    def test_runs_from_its_tag_elsewhere_with_a_home_of_its_own(self, trained, tmp_path):
        need("uv")  # for `bentoml build`, which would install it
        first, second = tmp_path / "made", tmp_path / "brought"
        tag = built(tmp_path / "source", first)
        bentoml("export", tag, str(tmp_path / "feeds.bento"), store=first)
        bentoml("import", str(tmp_path / "feeds.bento"), store=second)
        home, port = tmp_path / "home", own_port(3459)
        (home / "bundles").mkdir(parents=True)
        version = trained.home.current()
        shutil.copytree(trained.home.bundles / version, home / "bundles" / version)
        (home / "CURRENT").write_text(version)
        command = [sys.executable, "-m", "bentoml", "serve", tag, "--host", "127.0.0.1",
                   "--port", str(port)]  # fmt: skip
        log, url = tmp_path / "log", f"http://127.0.0.1:{port}"
        more = {"FEEDS_HOME": str(home), "FEEDS_WORKERS": "1", "FEEDS_OPEN": "1"}
        with log.open("wb") as output, subprocess.Popen(
            command, env={**quiet(second), **more}, cwd=second, stdout=output, stderr=output
        ) as process:  # fmt: skip
            try:
                until_ready(url, log)
                answer = httpx.post(f"{url}/feed", json={"placement": "home"}, timeout=5).json()
                about = httpx.get(f"{url}/docs.json", timeout=5).text
            finally:
                process.terminate()
        assert answer["model_version"] == version
        assert len(answer["items"]) == 20
        assert "Out of the bento" in about  # and not the sources that these tests run in


def until_ready(url: str, log: Path) -> None:
    for _ in range(600):
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=1).status_code == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(log.read_text())


def built(source: Path, store: Path) -> str:
    """Build a bento of a copy of the sources, which says so; the tag."""
    ignore = shutil.ignore_patterns("__pycache__")
    for one in (*OURS, "deploy"):
        shutil.copytree(ROOT / one, source / one, ignore=ignore)
    shutil.copy(ROOT / "bentofile.yaml", source)
    routes = source / "serving" / "service.py"
    text = routes.read_text()
    assert '"""A ranked feed' in text
    routes.write_text(text.replace('"""A ranked feed', '"""Out of the bento: a ranked feed'))
    told = bentoml("build", "--output", "tag", store=store, cwd=source)
    packed = next((store / "bentos" / "feeds").glob("*/src"))
    assert not list(packed.rglob("fitting"))
    return re.search(r"feeds:\w+", told).group()


def bentoml(*arguments: str, store: Path, cwd: Path | None = None) -> str:
    command = [sys.executable, "-m", "bentoml", *arguments]
    run = subprocess.run(command, env=quiet(store), cwd=cwd, capture_output=True, text=True,
                         check=False)  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout


def quiet(store: Path) -> dict[str, str]:
    """The environment of a BentoML whose bentos lie in `store`."""
    return {**os.environ, "BENTOML_HOME": str(store), "BENTOML_DO_NOT_TRACK": "1"}
