"""The API server as a client sees it, for the rooms that ask it: `credentials` says who we are, `connecting` makes the requests,
`kinds` names what can be asked for, `errors` what can go wrong.
"""
