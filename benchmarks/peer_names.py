"""The names of the peers, for those who must not import PyTorch to know them."""

PEERS = ("led", "longt5", "pegasus_x", "bigbird")
