# tallyd (the server) and tally (the operator's command line).
