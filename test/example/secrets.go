package example

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// privateKeys is what gives a private key away. They are plain strings, not one pattern: a TRACE log has
// hundreds of megabytes.
var privateKeys = [][]byte{
	// The header and the footer of every PEM of a private key.
	[]byte("PRIVATE KEY-----"),
	// How a PEM begins that was encoded in base64 once more: PKCS#8, SEC 1, encrypted.
	[]byte("LS0tLS1CRUdJTiBQUklWQVRFIEtFW"),
	[]byte("LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFW"),
	[]byte("LS0tLS1CRUdJTiBFTkNSWVBURUQgUFJJVkFURSBLRV"),
	// How the DER of an elliptic curve key begins in base64, with or without a header around it:
	// PKCS#8 of P-256 without and with the public key in it, of P-384, and SEC 1 of both.
	[]byte("MEECAQAwEwYHKoZIzj0CAQYIKoZIzj0DAQcE"),
	[]byte("MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg"),
	[]byte("MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGe"),
	[]byte("MHcCAQEEI"),
	[]byte("MIGkAgEBBD"),
}

// ErrSecret: something secret was found where it must not be.
var ErrSecret = errors.New("a secret is exposed")

// searchFiles looks for private keys and for further secrets. Absent files are no error: not every run
// writes all of them. The error names file and line, never what is there.
func searchFiles(files, literals []string) error {
	var found []error
	for _, name := range files {
		file, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("unable to search for secrets: %w", err)
		}
		err = search(file, filepath.Base(name), literals)
		file.Close()
		found = append(found, err)
	}
	return errors.Join(found...)
}

// search reads line by line, however long a line is, and gives the first finding of a file.
func search(content io.Reader, name string, literals []string) error {
	reader := bufio.NewReaderSize(content, 1<<20)
	for number := 1; ; number++ {
		line, err := reader.ReadBytes('\n')
		for _, marker := range privateKeys {
			if bytes.Contains(line, marker) {
				return fmt.Errorf("%w: a private key in %s, line %d", ErrSecret, name, number)
			}
		}
		for _, literal := range literals {
			if literal != "" && bytes.Contains(line, []byte(literal)) {
				return fmt.Errorf("%w: a secret value in %s, line %d", ErrSecret, name, number)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unable to read %s: %w", name, err)
		}
	}
}
