#!/bin/sh
# Prints the JSON of each event of a stream, one per line, over any number of broken connections.
# usage: follow.sh URL FILE [curl's options]       FILE keeps the id of the last event that was printed
url=$1 file=$2
shift 2
while :; do
    curl --no-buffer --silent "$@" --header "Last-Event-ID: $(cat "$file" 2> /dev/null)" "$url" |
        while IFS= read -r line; do
            case $line in
            'data: '*) data=${line#data: } ;;
            'id: '*) id=${line#id: } ;;
            '')
                # Only a blank line ends an event: what was cut off before it comes again.
                [ -z "$data" ] || printf '%s\n' "$data"
                [ -z "$id" ] || printf '%s' "$id" > "$file"
                data='' id=''
                ;;
            esac
        done
    sleep "${PAUSE:-2}"
done
