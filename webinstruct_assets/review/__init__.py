"""The review page: a small web application on loopback where people judge a snapshot's sample of refined pairs."""
