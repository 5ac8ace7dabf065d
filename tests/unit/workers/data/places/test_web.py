"""Files by HTTPS from a real server: which hosts and addresses are read, and what is refused on the way."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from luthier.settings import WorkerSettings
from tests.unit.workers.data.places.servers import Server, http_server
from workers.data.places import Downloads, Remote
from workers.data.places.addresses import is_public
from workers.data.sources import SourceFile, find_files
from workers.failures import ConfigError, DataError, DependencyError, StageError

ROWS = b'{"text": "a"}\n{"text": "b"}\n'


@pytest.fixture
def server() -> Iterator[Server]:
    with http_server() as server:
        server.answers["/rows.jsonl"] = lambda request: request.send(200, ROWS)
        yield server


def _read(url: str, folder: Path, **settings: Any) -> SourceFile:
    remote = Remote.of(WorkerSettings(**settings))
    downloads = Downloads(folder, remote, lambda message: None)
    (file,) = find_files(url, "data.path", "train", "auto", _no_matter, downloads)
    return file


def _no_matter(path: str, key: str) -> None: ...


def _private(server: Server) -> dict[str, str]:
    return {"data_private_hosts": f"127.0.0.1:{server.port}"}


def test_file_is_downloaded_and_named_without_its_query(server: Server, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{server.port}/rows.jsonl"
    file = _read(f"{url}?signature=hidden", tmp_path, **_private(server))
    assert (file.uri, file.name, file.file_type, file.num_bytes) == (url, "rows.jsonl", "jsonl", len(ROWS))
    assert Path(file.path).read_bytes() == ROWS
    assert Path(file.path).parent == tmp_path
    ((path, headers),) = server.asked
    assert path == "/rows.jsonl?signature=hidden"
    assert headers["Host"] == f"127.0.0.1:{server.port}"
    assert "Authorization" not in headers
    assert "Cookie" not in headers


def test_no_host_is_read_unless_the_worker_says_so(server: Server, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{server.port}/rows.jsonl?signature=hidden"
    for settings in ({}, {"data_hosts": "127.0.0.1,127.0.0.1:1,example.com"}):
        with pytest.raises(
            ConfigError, match=r"on a host that this worker may not read .*LUTHIER_DATA_HOSTS"
        ) as caught:
            _read(url, tmp_path, **settings)
        assert "hidden" not in str(caught.value)
    with pytest.raises(ConfigError, match="is without TLS; use https://"):
        _read(url, tmp_path, data_hosts=f"127.0.0.1:{server.port}")
    assert server.asked == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


class _Names:
    """A resolver that gives other answers every time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), []
        self._real = socket.getaddrinfo
        monkeypatch.setattr("workers.data.places.addresses.socket.getaddrinfo", self)

    def __call__(self, host: str, port: int, *rest: Any, **more: Any) -> Any:
        if not host.endswith(".test"):
            return self._real(host, port, *rest, **more)
        self.asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in self.answers.pop(0)]


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["93.184.215.14", "10.0.0.1"], ["169.254.169.254"]])
def test_name_of_a_private_address_is_refused_after_it_was_resolved(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: list[str]
) -> None:
    _Names(monkeypatch, answer)
    url = f"https://data.test:{server.port}/rows.jsonl"
    with pytest.raises(ConfigError, match=r"data\.test has an address that is not public"):
        _read(url, tmp_path, data_hosts=f"data.test:{server.port}")
    assert server.asked == []


def test_name_that_changes_its_address_is_read_where_it_was_checked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = _Names(monkeypatch, ["127.0.0.1"], ["192.0.2.1"])
    host = f"data.test:{server.port}"
    file = _read(f"http://{host}/rows.jsonl", tmp_path, data_private_hosts=host)
    assert (names.asked, file.num_bytes) == (["data.test"], len(ROWS))
    assert server.asked[0][1]["Host"] == host


def test_next_address_is_tried_when_one_does_not_answer(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Names(monkeypatch, ["127.0.0.2", "127.0.0.1"])
    host = f"data.test:{server.port}"
    assert _read(f"http://{host}/rows.jsonl", tmp_path, data_private_hosts=host).num_bytes == len(ROWS)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("https://169.254.169.254/latest/meta-data", "on a host that this worker may not read"),
        ("http://localhost/rows.jsonl", "on a host that this worker may not read"),
        ("file:///etc/passwd", "a URL of another kind"),
        ("http://user:hidden@127.0.0.1/rows.jsonl", "a URL of another kind"),
        ("http://[::bad/rows.jsonl", "a URL of another kind"),
    ],
)
def test_redirect_is_checked_like_a_url(server: Server, tmp_path: Path, target: str, message: str) -> None:
    server.answers["/there.jsonl"] = lambda request: request.send(302, Location=target)
    with pytest.raises(ConfigError, match=message) as caught:
        _read(f"http://127.0.0.1:{server.port}/there.jsonl", tmp_path, **_private(server))
    assert "hidden" not in str(caught.value)


def test_redirect_to_another_address_of_a_host_that_may_be_read_is_checked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Names(monkeypatch, ["10.0.0.1"])
    server.answers["/there.jsonl"] = lambda request: request.send(302, Location="https://data.test/rows.jsonl")
    with pytest.raises(ConfigError, match="is not public"):
        _read(f"http://127.0.0.1:{server.port}/there.jsonl", tmp_path, data_hosts="data.test", **_private(server))


def test_relative_redirects_are_followed_up_to_a_number(server: Server, tmp_path: Path) -> None:
    server.answers["/there.jsonl"] = lambda request: request.send(307, Location="/rows.jsonl")
    server.answers["/round.jsonl"] = lambda request: request.send(301, Location="/round.jsonl")
    assert _read(f"http://127.0.0.1:{server.port}/there.jsonl", tmp_path, **_private(server)).num_bytes
    with pytest.raises(DataError, match="after more than 5 redirects"):
        _read(f"http://127.0.0.1:{server.port}/round.jsonl", tmp_path, **_private(server))


@pytest.mark.parametrize(
    ("status", "kind"), [(404, DataError), (403, DataError), (429, DependencyError), (503, DependencyError)]
)
def test_status_decides_whether_it_is_asked_again(
    server: Server, tmp_path: Path, status: int, kind: type[StageError]
) -> None:
    server.answers["/rows.jsonl"] = lambda request: request.send(status)
    with pytest.raises(kind, match=f"answers {status}"):
        _read(f"http://127.0.0.1:{server.port}/rows.jsonl?x=hidden", tmp_path, **_private(server))


def test_file_over_the_limit_is_refused_before_or_while_it_comes(server: Server, tmp_path: Path) -> None:
    limit = {**_private(server), "data_download_bytes": 100_000}
    server.answers["/said.jsonl"] = lambda request: request.send(200, b"x" * 200_000)
    server.answers["/unsaid.jsonl"] = _endless
    for name in ("said", "unsaid"):
        with pytest.raises(DataError, match=r"over 100000 bytes; .*LUTHIER_DATA_DOWNLOAD_BYTES"):
            _read(f"http://127.0.0.1:{server.port}/{name}.jsonl", tmp_path, **limit)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 100_000


def _endless(request: Any) -> None:
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    try:
        while True:
            request.wfile.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
    except ConnectionError:
        pass


def test_answer_that_breaks_off_is_asked_again(server: Server, tmp_path: Path) -> None:
    def half(request: Any) -> None:
        request.send(200, ROWS, Content_Length=str(len(ROWS) * 2), Connection="close")
        request.close_connection = True

    server.answers["/rows.jsonl"] = half
    with pytest.raises(DependencyError, match=r"could not be read: (IncompleteRead|ProtocolError)"):
        _read(f"http://127.0.0.1:{server.port}/rows.jsonl", tmp_path, **_private(server))


def test_nobody_listening_and_no_such_name_are_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(DependencyError, match="could not be read: NewConnectionError"):
            _read(f"http://{host}/rows.jsonl", tmp_path, data_private_hosts=host)
    with pytest.raises(DependencyError, match="cannot be resolved"):
        _read("https://nowhere.invalid/rows.jsonl", tmp_path, data_hosts="nowhere.invalid")


@pytest.mark.parametrize("path", ["/a/..%2F..%2Fescape.jsonl", "/%0A.jsonl", "/x.%00.jsonl", "/.jsonl.JSONL"])
def test_name_in_the_url_does_not_decide_where_it_is_written(server: Server, tmp_path: Path, path: str) -> None:
    server.answers[path] = lambda request: request.send(200, ROWS)
    file = _read(f"http://127.0.0.1:{server.port}{path}", tmp_path, **_private(server))
    assert file.path == str(tmp_path / "000000.jsonl")
    assert file.name.isprintable()


def test_trickle_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 7))
    monkeypatch.setattr("workers.data.places.downloads.time.monotonic", lambda: float(next(clock)))
    told: list[str] = []
    downloads = Downloads(tmp_path, Remote(max_bytes=1 << 20), told.append)
    with pytest.raises(DependencyError, match="less than 1 KiB/s"):
        downloads.save("https://data.test/rows.jsonl", "rows.jsonl", (b"x" for _ in range(1000)))
    assert told[0] == "downloading https://data.test/rows.jsonl: 0 MiB"


def test_certificate_must_be_that_of_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with http_server(authority.issue_cert("data.test")) as server:
        server.answers["/rows.jsonl"] = lambda request: request.send(200, ROWS)
        for name, fits in (("data.test", True), ("other.test", False)):
            _Names(monkeypatch, ["127.0.0.1"])
            host = f"{name}:{server.port}"
            if fits:
                assert _read(f"https://{host}/rows.jsonl", tmp_path, data_private_hosts=host).num_bytes == len(ROWS)
                continue
            with pytest.raises(DependencyError, match="SSLError"):
                _read(f"https://{host}/rows.jsonl", tmp_path, data_private_hosts=host)
