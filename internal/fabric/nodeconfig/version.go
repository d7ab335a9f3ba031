package nodeconfig

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrUnsupportedVersion is wrapped by the errors about a Fabric version for
// which this package has no defaults.
var ErrUnsupportedVersion = errors.New("unsupported Fabric version")

// Version is a version of Hyperledger Fabric. The zero value is no version and
// not supported.
type Version struct {
	major, minor, patch int
	text                string
}

// ParseVersion reads "MAJOR.MINOR" or "MAJOR.MINOR.PATCH", with or without a
// leading "v". A version without a patch compares as patch 0. It does not ask
// whether the version is supported: see [Version.Supported].
func ParseVersion(s string) (Version, error) {
	text := strings.TrimPrefix(s, "v")
	parts := strings.Split(text, ".")
	if len(parts) != 2 && len(parts) != 3 {
		return Version{}, malformed(s)
	}
	var numbers [3]int
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil || strconv.FormatUint(n, 10) != part {
			return Version{}, malformed(s)
		}
		numbers[i] = int(n)
	}
	return Version{major: numbers[0], minor: numbers[1], patch: numbers[2], text: text}, nil
}

func malformed(s string) error {
	return fmt.Errorf("unable to read %q as a Fabric version: want MAJOR.MINOR or MAJOR.MINOR.PATCH, such as \"3.1.1\"", s)
}

// Major is the first number.
func (v Version) Major() int { return v.major }

// Minor is the second number.
func (v Version) Minor() int { return v.minor }

// String is the version as it was given, without a leading "v".
func (v Version) String() string { return v.text }

// Compare is negative when v is older than other, zero when both are the same
// release, positive when v is newer.
func (v Version) Compare(other Version) int {
	return cmp.Or(
		cmp.Compare(v.major, other.major),
		cmp.Compare(v.minor, other.minor),
		cmp.Compare(v.patch, other.patch),
	)
}

// SupportsBFT says whether orderers of this version can run SmartBFT: 3.0 and
// later.
func (v Version) SupportsBFT() bool { return v.major >= 3 }

// SupportsChannelV3 says whether nodes of this version know the channel
// capability V3_0, which SmartBFT needs: 3.0 and later.
func (v Version) SupportsChannelV3() bool { return v.major >= 3 }

// Supported is nil for a version that this package can render files for, and
// otherwise an error that wraps [ErrUnsupportedVersion] and lists the versions
// that are supported.
func (v Version) Supported() error {
	_, err := releaseFor(v)
	return err
}
