package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
)

// recordSize is the size of a record on disk, in bytes: a text and spaces up to a line's end.
const recordSize = 64

// records are those of one file.
type records struct {
	mu    sync.Mutex
	file  *os.File
	count int64
}

// openRecords takes up a file, or makes it. A record that is there in part only was told to nobody.
func openRecords(path string) (*records, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &records{file: f, count: size / recordSize}, nil
}

// put writes a record and makes it durable.
func (r *records) put(text string) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	row := fmt.Sprintf("%-*s\n", recordSize-1, text)
	if _, err := r.file.WriteAt([]byte(row), r.count*recordSize); err != nil {
		return 0, err
	}
	if err := r.file.Sync(); err != nil {
		return 0, err
	}
	r.count++
	return r.count - 1, nil
}

// get reads a record.
func (r *records) get(n int64) (string, error) {
	row := make([]byte, recordSize)
	if _, err := r.file.ReadAt(row, n*recordSize); err != nil {
		return "", err
	}
	return string(bytes.TrimRight(row, " \n")), nil
}

// answer is what is said to a line; false if the connection is to end.
func (r *records) answer(line string) (string, bool) {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "put":
		if rest == "" || len(rest) >= recordSize {
			break
		}
		n, err := r.put(rest)
		if err != nil {
			return "bye: " + err.Error(), false
		}
		return "ok " + strconv.FormatInt(n, 10), true
	case "get":
		n, err := strconv.ParseInt(rest, 10, 32)
		if err != nil || n < 0 {
			break
		}
		text, err := r.get(n)
		if err == io.EOF {
			return "none", true
		} else if err != nil {
			return "bye: " + err.Error(), false
		}
		return "is " + text, true
	}
	return "bye", false
}
