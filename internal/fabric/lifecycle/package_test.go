package lifecycle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

var request = PackageRequest{
	Label:      "asset_1.0",
	Connection: Connection{Address: "asset.{{.peername}}:9999"},
	Metadata: map[string][]byte{
		"statedb/couchdb/indexes/owner.json":                     []byte(`{"index":{"fields":["owner"]}}`),
		"statedb/couchdb/indexes/colour.json":                    []byte(`{"index":{"fields":["colour"]}}`),
		"statedb/couchdb/collections/secrets/indexes/price.json": []byte(`{"index":{"fields":["price"]}}`),
	},
}

// goldenID pins the bytes of request's package. A change of it would make every chaincode of every
// user an upgrade: do not adapt it, find out what changed.
const goldenID = "asset_1.0:2e7a6df0fc535d7f924e9d1df49c374d7bd122d16d7d9d61355aa71a0cd92258"

func TestPackageIsTheSameEverywhere(t *testing.T) {
	packed, err := Package(request)
	if err != nil {
		t.Fatal(err)
	}
	if id := PackageID(request.Label, packed); id != goldenID {
		t.Errorf("package ID %s, want %s", id, goldenID)
	}
	for range 20 {
		again, err := Package(request)
		if err != nil || !bytes.Equal(packed, again) {
			t.Fatalf("another run gives other bytes, %v", err)
		}
	}
}

func TestPackageChangesWithItsContent(t *testing.T) {
	base, err := Package(request)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*PackageRequest){
		"label":    func(r *PackageRequest) { r.Label = "asset_1.1" },
		"address":  func(r *PackageRequest) { r.Connection.Address = "other:9999" },
		"timeout":  func(r *PackageRequest) { r.Connection.DialTimeout = time.Second },
		"TLS":      func(r *PackageRequest) { r.Connection.TLSRequired, r.Connection.RootCertificate = true, "PEM" },
		"metadata": func(r *PackageRequest) { r.Metadata = nil },
	} {
		changed := request
		change(&changed)
		packed, err := Package(changed)
		if err != nil || bytes.Equal(packed, base) {
			t.Errorf("%s: same bytes, %v", name, err)
		}
	}
	spelled := request
	spelled.Connection.DialTimeout = 10 * time.Second
	if packed, err := Package(spelled); err != nil || !bytes.Equal(packed, base) {
		t.Errorf("the default timeout, spelled out, changes the package, %v", err)
	}
}

func TestPackageContent(t *testing.T) {
	packed, err := Package(PackageRequest{Label: "kv", Metadata: request.Metadata, Connection: Connection{
		Address: "kv.{{.peername}}:9999", DialTimeout: 3 * time.Second, TLSRequired: true, RootCertificate: "-----BEGIN <&>-----\n", ClientAuthRequired: true,
	}})
	if err != nil {
		t.Fatal(err)
	}
	outer := unpackAll(t, packed)
	if got := string(outer["metadata.json"]); got != `{"type":"ccaas","label":"kv"}`+"\n" {
		t.Errorf("metadata.json %s", got)
	}
	inner := unpackAll(t, outer["code.tar.gz"])
	want := `{"address":"kv.{{.peername}}:9999","dial_timeout":"3s","tls_required":true,"client_auth_required":true,"root_cert":"-----BEGIN <&>-----\n"}` + "\n"
	if got := string(inner["connection.json"]); got != want {
		t.Errorf("connection.json %s", got)
	}
	if len(outer) != 2 || len(inner) != 4 || inner["META-INF/statedb/couchdb/collections/secrets/indexes/price.json"] == nil {
		t.Errorf("files %v, %v", outer, inner)
	}
}

func TestPackageRefuses(t *testing.T) {
	for name, change := range map[string]func(*PackageRequest){
		"label":              func(r *PackageRequest) { r.Label = "a:b" },
		"no address":         func(r *PackageRequest) { r.Connection.Address = "" },
		"no port":            func(r *PackageRequest) { r.Connection.Address = "kv" },
		"broken template":    func(r *PackageRequest) { r.Connection.Address = "{{.peername:9999" },
		"negative timeout":   func(r *PackageRequest) { r.Connection.DialTimeout = -1 },
		"TLS without root":   func(r *PackageRequest) { r.Connection.TLSRequired = true },
		"client without TLS": func(r *PackageRequest) { r.Connection.ClientAuthRequired = true },
		"escaping metadata":  func(r *PackageRequest) { r.Metadata = map[string][]byte{"../x.json": []byte("{}")} },
		"other metadata": func(r *PackageRequest) {
			r.Metadata = map[string][]byte{"statedb/leveldb/indexes/x.json": []byte("{}")}
		},
		"nested metadata": func(r *PackageRequest) {
			r.Metadata = map[string][]byte{"statedb/couchdb/indexes/../x.json": []byte("{}")}
		},
		"metadata no JSON": func(r *PackageRequest) {
			r.Metadata = map[string][]byte{"statedb/couchdb/indexes/x.json": []byte("[]")}
		},
	} {
		broken := request
		change(&broken)
		if _, err := Package(broken); err == nil {
			t.Errorf("%s: packaged", name)
		}
	}
	free := request
	free.Connection.Address = "{{.address}}"
	if _, err := Package(free); err != nil {
		t.Errorf("an address that the builder gives whole: %v", err)
	}
}

func unpackAll(t *testing.T, packed []byte) map[string][]byte {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	files, reader := map[string][]byte{}, tar.NewReader(unzipped)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag != tar.TypeReg || header.Uid != 0 || header.Uname != "" || !header.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s has type %c, owner %d %q, time %s", header.Name, header.Typeflag, header.Uid, header.Uname, header.ModTime)
		}
		if files[header.Name], err = io.ReadAll(reader); err != nil {
			t.Fatal(err)
		}
	}
}

// tarball makes a gzipped tar of entries.
func tarball(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	writer := tar.NewWriter(zip)
	for _, header := range entries {
		content := header.Linkname
		if header.Typeflag == tar.TypeReg {
			header.Linkname, header.Size = "", int64(len(content))
		}
		if err := writer.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(writer, content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// file is an entry whose content travels as link name.
func file(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Linkname: content}
}

func TestParsePackage(t *testing.T) {
	packed, err := Package(request)
	if err != nil {
		t.Fatal(err)
	}
	info, err := ParsePackage(packed)
	want := PackageInfo{ID: goldenID, Label: "asset_1.0", Type: TypeCCaaS, Address: "asset.{{.peername}}:9999"}
	if err != nil || *info != want {
		t.Errorf("%+v, %v", info, err)
	}
	source := tarball(t, file("metadata.json", `{"type":"golang","path":"example.com/cc","label":"go_1"}`),
		file("code.tar.gz", string(tarball(t, tar.Header{Typeflag: tar.TypeDir, Name: "src/"}, file("src/main.go", "package main")))), file("README", "hello"))
	info, err = ParsePackage(source)
	if err != nil || info.Type != "golang" || info.Path != "example.com/cc" || info.Label != "go_1" || info.Address != "" || info.ID != PackageID("go_1", source) {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestParsePackageRefuses(t *testing.T) {
	metadata := file("metadata.json", `{"type":"ccaas","label":"a"}`)
	connection := file("connection.json", `{"address":"a:1"}`)
	code := file("code.tar.gz", string(tarball(t, connection)))
	inner := func(entries ...tar.Header) []byte {
		return tarball(t, metadata, file("code.tar.gz", string(tarball(t, append([]tar.Header{connection}, entries...)...))))
	}
	var tooLarge bytes.Buffer
	if err := writeArchive(&tooLarge, []archived{contentOf("large", make([]byte, MaxPackageSize))}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		packed []byte
		reason string
	}{
		"nothing":             {nil, "gzip"},
		"no gzip":             {[]byte("junk"), "gzip"},
		"no tar":              {gzipOf(t, bytes.Repeat([]byte("x"), 1024)), "tar"},
		"too large":           {tooLarge.Bytes(), "at most"},
		"no metadata":         {tarball(t, code), "metadata.json is not in it"},
		"no code":             {tarball(t, metadata), "code.tar.gz is not in it"},
		"two metadata":        {tarball(t, metadata, metadata, code), "twice"},
		"two codes":           {tarball(t, metadata, code, code), "twice"},
		"metadata no JSON":    {tarball(t, file("metadata.json", "{"), code), "malformed"},
		"metadata null":       {tarball(t, file("metadata.json", "null"), code), "no object"},
		"metadata huge":       {tarball(t, file("metadata.json", strings.Repeat(" ", maxDocument+1)), code), "more than"},
		"no type":             {tarball(t, file("metadata.json", `{"label":"a"}`), code), "type"},
		"no label":            {tarball(t, file("metadata.json", `{"type":"ccaas"}`), code), "label"},
		"bad label":           {tarball(t, file("metadata.json", `{"type":"ccaas","label":"../a"}`), code), "label"},
		"link outside":        {tarball(t, metadata, code, tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "/etc/passwd"}), "regular"},
		"folder outside":      {tarball(t, tar.Header{Typeflag: tar.TypeDir, Name: "d/"}, metadata, code), "regular"},
		"code no gzip":        {tarball(t, metadata, file("code.tar.gz", "junk")), "gzip"},
		"code link":           {inner(tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "x"}), "neither"},
		"code hard link":      {inner(tar.Header{Typeflag: tar.TypeLink, Name: "l", Linkname: "connection.json"}), "neither"},
		"code device":         {inner(tar.Header{Typeflag: tar.TypeChar, Name: "null"}), "neither"},
		"code escapes":        {inner(file("../../etc/cron.d/x", "x")), "leaves"},
		"code escapes deep":   {inner(file("a/../../x", "x")), "leaves"},
		"code absolute":       {inner(file("/etc/passwd", "x")), "leaves"},
		"no connection":       {tarball(t, metadata, file("code.tar.gz", string(tarball(t, file("other", "x"))))), "connection.json"},
		"connection no JSON":  {tarball(t, metadata, file("code.tar.gz", string(tarball(t, file("connection.json", "x"))))), "connection.json"},
		"connection deep":     {tarball(t, metadata, file("code.tar.gz", string(tarball(t, file("a/connection.json", `{"address":"a:1"}`))))), "connection.json"},
		"no source":           {tarball(t, file("metadata.json", `{"type":"GOLANG","label":"a"}`), file("code.tar.gz", string(tarball(t, file("main.go", "x"))))), "nothing below src/"},
		"more behind it":      {append(tarball(t, metadata, code), "junk"...), "damaged"},
		"truncated":           {tarball(t, metadata, code)[:200], ""},
		"external, no server": {tarball(t, file("metadata.json", `{"type":"external","label":"a"}`), file("code.tar.gz", string(tarball(t)))), "connection.json"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParsePackage(test.packed)
			if err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestParsePackageStopsAtItsLimits(t *testing.T) {
	metadata := file("metadata.json", `{"type":"other","label":"a"}`)
	zeros := file("zeros", strings.Repeat("\x00", 2<<20))
	entries := make([]tar.Header, 101)
	for i := range entries {
		entries[i] = tar.Header{Typeflag: tar.TypeDir, Name: "d/"}
	}
	small := limits{unpacked: 1 << 20, entries: 100}
	for name, test := range map[string]struct {
		packed []byte
		reason string
	}{
		"bomb":        {tarball(t, zeros, metadata), "unpacks to more"},
		"bomb inside": {tarball(t, metadata, file("code.tar.gz", string(tarball(t, zeros)))), "unpacks to more"},
		"bomb at end": {tarball(t, metadata, file("code.tar.gz", string(tarball(t))), zeros), "unpacks to more"},
		"crowd":       {tarball(t, metadata, file("code.tar.gz", string(tarball(t, entries...)))), "more than 100 entries"},
	} {
		if len(test.packed) > 16<<10 {
			t.Errorf("%s: %d bytes are not small", name, len(test.packed))
		}
		if _, err := small.parse(bytes.NewReader(test.packed)); err == nil || !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func gzipOf(t testing.TB, content []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	if _, err := writer.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// FuzzParsePackage: whatever the bytes, an answer; and what is accepted is a package by Fabric's rules.
func FuzzParsePackage(f *testing.F) {
	packed, err := Package(request)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	source, err := Source{Label: "asset_1", Type: TypeGolang, Folder: folder(f, golangFiles)}.Package()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(source)
	f.Add([]byte{})
	f.Add(gzipOf(f, []byte("not a tar")))
	f.Add(tarball(f, file("metadata.json", `{"type":"golang","label":"a"}`), file("code.tar.gz", string(tarball(f, file("src/main.go", "package main"))))))
	f.Add(tarball(f, file("metadata.json", `{"type":"ccaas","label":"a"}`), file("code.tar.gz", string(tarball(f, tar.Header{Typeflag: tar.TypeSymlink, Name: "../x", Linkname: "/"})))))
	f.Fuzz(func(t *testing.T, packed []byte) {
		info, err := ParsePackage(packed)
		if err != nil {
			return
		}
		if ValidateLabel(info.Label) != nil || info.Type == "" || info.ID != PackageID(info.Label, packed) {
			t.Errorf("accepted %+v", info)
		}
	})
}
