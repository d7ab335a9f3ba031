// Package keystore is where private keys live. A store is a small tree of files; what the files
// mean is the business of the package above.
package keystore

import (
	"context"
	"errors"
)

// ErrLost tells that a store which should be there is not: its keys are gone.
var ErrLost = errors.New("the key store is gone")

// Store holds files under slash-separated names. An empty file is the same as none, so that what
// was erased does not come back.
type Store interface {
	// Read gives every file of the store. ErrLost when the store itself does not exist.
	Read(ctx context.Context) (map[string][]byte, error)
	// Write adds or replaces files. Other files stay.
	Write(ctx context.Context, files map[string][]byte) error
	// Erase overwrites files with nothing. Absent files are success.
	Erase(ctx context.Context, names ...string) error
}
