from ..origin_server import OriginServer
def test_x():
    with OriginServer(tls=True) as o: print(o.url("/x"))
