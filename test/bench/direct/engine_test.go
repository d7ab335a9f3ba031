package direct

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/moby/client"
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

// TestRemovalsInsist: what the engine has not let go of yet is removed when it has, and what stands in
// the way of a volume goes too.
func TestRemovalsInsist(t *testing.T) {
	conflicts, removed := map[string]int{"/volumes/v": 2, "/containers/c": 1}, []string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := r.URL.Path[max(strings.Index(r.URL.Path, "/volumes"), strings.Index(r.URL.Path, "/containers"), 0):]
		switch {
		case r.Method == http.MethodGet && strings.HasPrefix(at, "/containers/json"):
			_, _ = io.WriteString(w, `[{"Id":"user"}]`)
		case r.Method != http.MethodDelete:
			_, _ = io.WriteString(w, "{}")
		case conflicts[at] > 0:
			conflicts[at]--
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"message":"in use"}`)
		case at == "/volumes/broken":
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, `{"message":"no disk"}`)
		case at == "/volumes/gone":
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"message":"no such volume"}`)
		default:
			removed = append(removed, at)
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	defer server.Close()
	api, err := client.New(client.WithHost("tcp://" + server.Listener.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	if err := removeContainer(t.Context(), api, "c"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"v", "gone"} {
		if err := removeVolume(t.Context(), api, name); err != nil {
			t.Error(err)
		}
	}
	if err := removeVolume(t.Context(), api, "broken"); err == nil || !strings.Contains(fmt.Sprint(err), "no disk") {
		t.Errorf("a failure that is no conflict gives %v", err)
	}
	if want := []string{"/containers/c", "/containers/user", "/containers/user", "/volumes/v"}; !slices.Equal(removed, want) {
		t.Errorf("removed are %v, want %v", removed, want)
	}
}
