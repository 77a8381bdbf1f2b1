// Command clerk runs in a test guest, takes records over TCP and keeps them on disk. Whoever was told the
// number of a record can count on it: it was written and synced before.
//
//	clerk --file /mnt/records --listen :7
//
// A client says a line and is answered with one:
//
//	put TEXT    ok N         the record is durable, with this number, counted from 0
//	get N       is TEXT      as it is read from the file
//	            none         there is no such record
//	anything else, a text that is too long: bye, and the connection ends
//
// Two clerks that are in the same state and hear the same answer with the same bytes: so the packets of
// both sides of a COLO pair are equal.
package main
