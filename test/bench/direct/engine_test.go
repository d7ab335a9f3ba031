package direct

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"testing"
)

func TestPackGivesFoldersToTheNodesUser(t *testing.T) {
	archive, err := pack("node", map[string][]byte{"keys/tls/key.pem": []byte("secret"), "config/core.yaml": nil})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
		if header.Uid != nodeUID || header.Gid != nodeUID {
			t.Errorf("%s belongs to %d:%d", header.Name, header.Uid, header.Gid)
		}
		if want := map[bool]int64{true: 0o700, false: 0o600}[header.Typeflag == tar.TypeDir]; header.Mode != want {
			t.Errorf("%s has mode %o, want %o", header.Name, header.Mode, want)
		}
	}
	want := []string{"node/", "node/config/", "node/config/core.yaml", "node/keys/", "node/keys/tls/", "node/keys/tls/key.pem"}
	if !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

func TestFreePortsLeavesOutWhatIsTaken(t *testing.T) {
	e := &engine{}
	const from = 400
	taken, err := net.Listen("tcp", net.JoinHostPort(hostAddress, strconv.Itoa(firstPort+from)))
	if err != nil {
		t.Skipf("the port is taken already: %v", err)
	}
	defer taken.Close()
	first, err := e.freePorts(t.Context(), from, 7051, 9443)
	if err != nil {
		t.Fatal(err)
	}
	second, err := e.freePorts(t.Context(), from, 7051)
	if err != nil {
		t.Fatal(err)
	}
	given := []int{first[7051], first[9443], second[7051], firstPort + from}
	slices.Sort(given)
	if len(slices.Compact(given)) != 4 {
		t.Errorf("a port was given twice, or is taken: %v and %v", first, second)
	}
}
