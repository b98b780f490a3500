"""What is changed on purpose, and why; README.md is made from this table.

A difference that no entry explains fails the suite, and so does an entry that explains nothing.
"""

from __future__ import annotations

from typing import Final

from .findings import Change

_LEGACY: Final = r" /peer/| /task/metrics"
_BATTERY: Final = r"^0[56]"

_SUPERNODE: Final = (
    Change(
        "as 1.0.6",
        "whoever registers is told `cdnSource`, `asSeed` and `seedTaskID`; older clients skip them",
        where=r"(data|registered)\.(asSeed|cdnSource|seedTaskID)$",
        recorded=r"^\(absent\)$",
    ),
    Change(
        "piece md5",
        "0.4.0 leaves it empty, although every dfget checks it",
        where=r"pieceMd5$",
        recorded=r'^""$',
    ),
    Change(
        "down link",
        "20480 KB/s, as the Java supernode says: with 0 a dfget 0.3 or 0.4 limits itself to half"
        " of that",
        where=r"downLink$",
        recorded=r"^0$",
        ours=r"^20480$",
    ),
    Change(
        "lists again",
        "a client with pieces under way gets them again with 601: with 602 it may wait for ever",
        label=r"/peer/task",
        where=r"^(body\.)?(code|data)$",
        recorded=r"^(602|\(absent\))$",
        ours=r"^601$|^\[\{.range",
    ),
    Change(
        "acknowledges",
        "reports are answered with 611 and 612 as by 1.0.6, where 0.4.0 says nothing at all",
        label=r"/peer/(piece/suc|service/down)",
        where=r"^body$|^answer\.code$",
        recorded=r'^(""|\(absent\))$',
        ours=r'^\{"code": 61[12]\}$|^200$',
    ),
    Change(
        "finish with md5",
        "code 600 always comes with the length, and with the md5 where it is known: 1.0.6 crashes"
        " without the one and checks the other",
        label=r"/peer/task",
        where=r"^body\.data(\.md5)?$",
        recorded=r'^(""|\(absent\))$',
        ours=r'^"\w{32}"$|^\{"fileLength": 6, "md5"',
    ),
    Change(
        "no port 0",
        "1.0.6 sends clients to peers that serve nobody; here they are never offered",
        source=r"^12",
        where=r"^offer\.(cid|path|peerPort)$",
        ours=r'^"cdnnode:|^"/download/|^8001$',
    ),
    Change(
        "length known",
        "Content-Range names the length that the file will have, not the one that it has so far",
        source=r"^12",
        where=r"^content-range$",
        recorded=r"/4194304",
        ours=r"/9000015",
    ),
    Change(
        "refused at once",
        "an origin that refuses is told when a peer registers (607), not when it pulls",
        source=_BATTERY,
        label=r"/e4\d\d/|/e500/|-e4\d\d-|-e500-",
        where=r"^(status|body\.(code|data))$",
        ours=r"^(607|502|200|\(absent\))$",
    ),
    Change(
        "slow origin",
        "an origin that says nothing makes the client ask again (609), not pull in vain",
        source=_BATTERY,
        label=r"/slow/|-slow-",
        where=r"^body\.(code|data)$",
        ours=r"^(609|502|\(absent\))$",
    ),
    Change(
        "copy failed",
        "a pull for a copy that failed is answered with 604, the code that the Java one uses",
        source=_BATTERY,
        label=r"-(f|drop)-100[23]",
        where=r"^body\.code$",
        ours=r"^604$",
    ),
    Change(
        "lenient",
        "registrations are taken in any case of keys, under the form's type, as a form, and with a"
        " supernode that is named rather than numbered",
        source=_BATTERY,
        label=r'POST /peer/registry (rawUrl=|\{"RAWURL"|.*"superNodeIp":"loc)',
        where=r"^(status|body\.(code|data))$",
        recorded=r"^(500|\(absent\))$",
        ours=r"^200$|taskId",
    ),
    Change(
        "tolerant",
        "an unknown or empty dstCid, or a peer that leaves twice or was never there, is no error",
        source=_BATTERY,
        label=r"dstCid=nosuchdst|dstCid=&pieceRange|/peer/service/down",
        where=r"^(status|body(\.(code|data))?)$",
        ours=r"^(200|600|61[12]|\{.*\})$",
    ),
    Change(
        "always 200",
        "errors of dfget's calls are codes in HTTP 200: 0.3 and 0.4 crash on any other status",
        source=_BATTERY,
        label=_LEGACY,
        where=r"^(status|body\.code)$",
        recorded=r"^(500|\(absent\))$",
        ours=r"^(200|50[12])$",
    ),
    Change(
        "newer calls",
        "what 1.0.6 routes or documents is there, which 0.4.0 answers with 404",
        source=r"^06",
        where=r"^(status|content-type|body(\[0\]\..*)?)$",
        recorded=r'^404$|^"404 page|^"text/plain|"<made>"|^"10\.1\.2\.3"$|^"h1"$|^20000$',
        ours=r"^(?!5\d\d$)",
    ),
    Change(
        "every prefix",
        "the REST calls are there without a prefix as well, as in 0.4.0",
        source=r"^05",
        where=r"^(status|content-type|body)$",
        recorded=r'^404$|^"404 page|^"text/plain',
        ours=r"^(?!5\d\d$)",
    ),
    Change(
        "more calls",
        "the root lists what 1.0.6 only documents, too",
        source=r"^05",
        where=r"^body\.api$",
        recorded=r"^\(absent\)$",
    ),
    Change(
        "status codes",
        "REST errors are 400 and 404 where v1 says 500 to everything",
        source=_BATTERY,
        where=r"^(status|body\.code)$",
        recorded=r"^(500|\(absent\))$",
        ours=r"^40[04]$",
    ),
    Change(
        "preheats itself",
        "a preheat reads the file into the supernode's copy; 1.0.6 wanted a dfget on its host",
        source=r"^05",
        label=r"/preheats",
        where=r"[sS]tatus$",
        recorded=r'^"FAILED"$',
        ours=r'^"SUCCESS"$',
    ),
    Change(
        "sound copies",
        "after a restart all pieces of a copy are verified: 1.0.6 loses the first ones when it"
        " resumes, and gives out damaged ones",
        source=r"^10",
        label=r"^restart, (unfinished|finished)",
        where=r"^(pieces|md5)",
        ours=r"123189e313cb7e19da1f33db3c6d6c1b:4194304|f1a7f8cfecd53569f792336ffae98c42",
    ),
    Change(
        "range in the id",
        "a Range header makes another task, as in 1.0.6; 0.4.0 mixes them up",
        source=r"^10.*040",
        label=r"^range header",
        where=r"^(registered\.(taskId|fileLength)|pieces|md5)",
        ours=r'^"fcf4ab66|^100$|c1d8f1822c2e9d8ba4a0d5d5781aeedc:105|^"1a0da122',
    ),
    Change(
        "stale fields",
        "what a client that has just migrated says of pieces of another supernode is not read",
        source=r"^scenarios/mig",
        where=r"^target$",
        recorded=r"status=700",
    ),
    Change(
        "broken answers",
        "an answer with another status than 200, or none that is JSON, is a failed call",
        source=r"^scenarios/",
        where=r"^answer$",
        ours=r"not understood",
    ),
)

_PEER_SERVER: Final = (
    Change(
        "beyond the end",
        "a range behind the end of the file is 416, where v1 sends garbage",
        source=r"^07",
        label=r"bytes=(10245|12000|11264)-",
        where=r"^status$",
        recorded=r"^206$",
        ours=r"^416$",
    ),
    Change(
        "plain for all",
        "`cdnSource: source` is heeded whatever version the server says it is",
        source=r"^07.*0[34]0",
        label=r"cdnSource: source",
        ours=r'^416$|^240$|^"0001020304050607"$|^"1011121314151617"$|^"fcfdfeff"$',
    ),
)

_DFGET: Final = (
    Change(
        "wrong md5 fails",
        "a file whose md5 is wrong is a failure (exit 80) and said to be one",
        source=r"^scenarios/(badmd5|finmd5bad)",
        where=r"^exit status$|^stdout$|POST /task/metrics|GET /peer/piece/suc",
        ours=r"^80$|FAIL\(1104\)|^[01]$",
    ),
    Change(
        "asks again",
        "601 without pieces to an idle client: ours asks again after a moment, v1 waits for ever",
        source=r"^scenarios/c601",
        where=r"^stdout$|^sent after",
        ours=r"SUCCESS|^\d$",
    ),
    Change(
        "names the piece",
        "a missing piece is named in the report, and reported for 416 and 500 as well",
        source=r"^scenarios/cdn(404|416|500)",
        where=r"GET /peer/piece/error",
    ),
    Change(
        "clean migration",
        "the new supernode is asked from the start and told of each piece in hand by a report;"
        " what was under way is fetched again from where it says",
        source=r"^scenarios/mig\.",
        where=r"^sent after",
    ),
    Change(
        "no false news",
        "with --notbs nothing says that a download from the source is tried",
        source=r"^scenarios/(pc|pempty|ph500)",
        where=r"^stdout$",
        recorded=r'dragonfly\.\.\.", "failed to download by',
        ours=r'(dragonfly\.\.\.|migrated to [^"]*)", "download FAIL\(1104\) [^"]* reason:100[03] ',
    ),
    Change(
        "rejoins",
        "a supernode that forgot a client or stopped answering may have been restarted: it is asked"
        " again for 5 s before it is given up",
        source=r"^scenarios/(pc502|pempty|ph500)",
        where=r"^registrations$",
        ours=r"^4$",
    ),
    Change(
        "nobody there",
        "when these were recorded no supernode ran; ours was refused by one",
        source=r"^scenarios/rc(502|605|606)",
        where=r"^registrations$",
        recorded=r"^0$",
    ),
    Change(
        "no limit, no question",
        "without any limit there is no share of it to ask the peer server for",
        source=r"^03",
        label=r"/rate$",
    ),
    Change(
        "no such md5",
        "an md5 that is none fails before anything is read, with reason 2",
        source=r"^08",
        label=r"-m abc",
        where=r"^(the end|stdout)",
        ours=r'^"2"$|reason:2 ',
    ),
    Change(
        "short host names",
        "a host without a dot is one, as in 1.0.6",
        source=r"^08",
        label=r"0[34]0 -u http://a$",
        where=r"^(exit status|the end)$",
    ),
    Change(
        "nothing to do",
        "without arguments the exit status is 1, as of 1.0.6",
        source=r"^08",
        label=r"dfget 0[34]0$",
        where=r"^exit status$",
    ),
    Change(
        "error pages",
        "a page that says 404 is not the file; 0.3.0 takes it for it",
        source=r"^08",
        label=r"dfget 030 .*(/e404/|:9000/ )",
        ours=r'^(80|"FAIL"|"1104"|"-1")$',
    ),
    Change(
        "files that are wrong",
        "a file that is not YAML, or has a key that nobody knows, is an error that names it",
        source=r"^09",
        label=r"bad yml|old yml keys",
        where=r"^nodes$",
        ours=r"an error that names",
    ),
    Change(
        "limits in words",
        "limits such as 5M are read; to 0.3 and 0.4 they make the whole file worthless",
        source=r"^09",
        label=r"dfget 0[34]0 with yml$",
        where=r"^nodes",
        ours=r"127\.0\.0\.[78]:8002",
    ),
    Change(
        "weights",
        "=2 is a weight, to whichever version",
        source=r"^09",
        label=r"dfget 0[34]0 with conf weights",
        where=r"^nodes",
        ours=r"127\.0\.0\.9:8002",
    ),
    Change(
        "no hidden limit",
        "without a limit there is none; 1.0.6 has one of 20 MB/s",
        source=r"^09",
        where=r"^localLimit$",
        recorded=r"^20971520$",
        ours=r"^0$",
    ),
)

CHANGES: Final = (*_SUPERNODE, *_PEER_SERVER, *_DFGET)
"""Of several entries that fit, the first counts."""

TOLERANCES: Final = (
    "ids, signs, times, durations, ports and host names; folders of the recording",
    "texts for people: `msg`, `message`, error texts, usage and help texts, what a log says",
    "headers that frame or date a message, order of JSON keys in answers, `User-Agent`",
    "which pieces come with which pull, and their order: each is compared with what the recorded"
    " supernode offered for it at any time",
    "how often a pull, a report of a piece or the metrics are sent (1.0.6 sends the last twice)",
    "which of several supernodes is asked first",
    "how long a 602 or a registration takes: ours holds pulls, theirs are sent again",
)
"""What is not compared."""
