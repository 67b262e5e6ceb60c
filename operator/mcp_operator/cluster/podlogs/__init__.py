"""Pod logs as events. Reading order: `containers` says what there is to read, `lines` and `resuming` make sense of what comes,
`reading` follows one container, `following` all of those that somebody listens to; `parsing` and `telling` make events of lines,
and `crashing` tells the last ones of a container that died.
"""
