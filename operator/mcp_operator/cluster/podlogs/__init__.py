"""Pod logs as events. Reading order: `containers` says what there is to read, `lines` and `resuming` make sense of what comes,
`reading` follows one container, `following` all of those that are wanted; `parsing` and `redacting` say what a line tells,
`continuing` which it belongs to, `interpreting` both; `telling` makes events of lines, and `crashing` tells the last ones of a
container that died.
"""
