// Package size reads and prints sizes as command lines have them.
package size

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Flag is a number of bytes on the command line: 20G, 512M, 1T, or plain bytes. Units are
// binary, as QEMU's tools have them.
type Flag int64

func (s *Flag) Type() string { return "size" }

func (s *Flag) String() string {
	n := int64(*s)
	if n == 0 {
		return ""
	}
	unit := 0
	for n%1024 == 0 && unit < len(sizeUnits) {
		n, unit = n/1024, unit+1
	}
	if unit == 0 {
		return strconv.FormatInt(n, 10)
	}
	return fmt.Sprintf("%d%c", n, sizeUnits[unit-1])
}

func (s *Flag) Set(text string) error {
	n, err := Parse(text)
	*s = Flag(n)
	return err
}

const (
	sizeUnits  = "KMGTPE" // powers of 1024, from the first
	sectorSize = 512
)

// Parse reads a size and refuses one that no disk can have.
func Parse(text string) (int64, error) {
	number, shift := strings.ToUpper(text), 0
	number = strings.TrimSuffix(strings.TrimSuffix(number, "B"), "I")
	if i := strings.IndexByte(sizeUnits, lastByte(number)); i >= 0 {
		number, shift = number[:len(number)-1], 10*(i+1)
	} else if number != strings.ToUpper(text) {
		return 0, fmt.Errorf("size %q is no number with a unit (K, M, G, T)", text)
	}
	n, err := strconv.ParseUint(number, 10, 63)
	switch {
	case err != nil:
		return 0, fmt.Errorf("size %q is no number with a unit (K, M, G, T)", text)
	case n > math.MaxInt64>>shift:
		return 0, fmt.Errorf("size %q is too large", text)
	case n == 0:
		return 0, fmt.Errorf("size %q is not above zero", text)
	case n<<shift%sectorSize != 0:
		return 0, fmt.Errorf("size %q is no multiple of %d bytes", text, sectorSize)
	}
	return int64(n << shift), nil
}

// lastByte returns the last byte of s, and one that is no unit for the empty string.
func lastByte(s string) byte {
	if s == "" {
		return '0'
	}
	return s[len(s)-1]
}
