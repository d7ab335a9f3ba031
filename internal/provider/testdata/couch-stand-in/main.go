// The stand-in takes the place of CouchDB in acceptance tests on machines that do not have CouchDB's
// image. It is not CouchDB: it reads the configuration files that CouchDB would read, lets in only
// who knows the password that they have the hash of, and speaks as much of the HTTP API as a peer
// needs that joins channels and commits transactions: https://docs.couchdb.org/en/stable/api/. It
// has no queries.
//
// Its image has it at the places of two programs of the official image, tini and couchdb.
package main

import (
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"maps"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	run := couchdb
	if filepath.Base(os.Args[0]) == "tini" {
		run = tini
	}
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

// tini becomes the program that comes after "--".
func tini(args []string) error {
	if len(args) < 2 || args[0] != "--" {
		return fmt.Errorf("tini is called with %q", args)
	}
	program, err := exec.LookPath(args[1])
	if err != nil {
		return err
	}
	return syscall.Exec(program, args[1:], os.Environ())
}

func couchdb(args []string) error {
	if len(args) < 2 || args[0] != "-couch_ini" {
		return fmt.Errorf("couchdb is called with %q", args)
	}
	config, err := read(args[1:])
	if err != nil {
		return err
	}
	if len(config["admins"]) == 0 {
		return errors.New("CouchDB 3.0+ will no longer run in Admin Party mode")
	}
	for _, file := range []string{args[len(args)-1], filepath.Join(config["couchdb"]["database_dir"], "probe"), "/opt/couchdb/data/probe", "/tmp/probe"} {
		// CouchDB writes to these places.
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	if err := os.WriteFile("/opt/couchdb/probe", nil, 0o600); err == nil {
		return errors.New("the root file system can be written to")
	}
	s := &server{admins: config["admins"], folder: config["couchdb"]["database_dir"], databases: map[string]*database{}}
	if err := s.load(); err != nil {
		return err
	}
	web := &http.Server{Addr: config["chttpd"]["bind_address"] + ":" + config["chttpd"]["port"], Handler: s, ReadHeaderTimeout: time.Minute}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { _ = web.Close() })
	log.Print("the stand-in for CouchDB has started")
	if err := web.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// read reads configuration files and folders of them, the later ones over the earlier.
func read(names []string) (map[string]map[string]string, error) {
	config := map[string]map[string]string{}
	var files []string
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, name)
			continue
		}
		in, err := filepath.Glob(filepath.Join(name, "*.ini"))
		if err != nil {
			return nil, err
		}
		files = append(files, in...)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		section := ""
		for line := range strings.Lines(string(content)) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "[") {
				section = strings.Trim(line, "[]")
			} else if key, value, ok := strings.Cut(line, " = "); ok && !strings.HasPrefix(line, ";") {
				if config[section] == nil {
					config[section] = map[string]string{}
				}
				config[section][key] = value
			}
		}
	}
	return config, nil
}

// admitted compares a password with its hash, -pbkdf2-KEY,SALT,ITERATIONS.
func admitted(password, stored string) bool {
	parts := strings.Split(strings.TrimPrefix(stored, "-pbkdf2-"), ",")
	if len(parts) != 3 {
		return false
	}
	iterations, err := strconv.Atoi(parts[2])
	if err != nil {
		return false
	}
	key, err := pbkdf2.Key(sha1.New, password, []byte(parts[1]), iterations, sha1.Size)
	return err == nil && subtle.ConstantTimeCompare([]byte(hex.EncodeToString(key)), []byte(parts[0])) == 1
}

type document = map[string]any

type database struct {
	Security any
	Docs     map[string]document
}

type server struct {
	mu        sync.Mutex
	admins    map[string]string
	folder    string
	databases map[string]*database
}

func (s *server) file(name string) string {
	return filepath.Join(s.folder, url.PathEscape(name)+".json")
}

func (s *server) load() error {
	files, err := filepath.Glob(filepath.Join(s.folder, "*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		name, err := url.PathUnescape(strings.TrimSuffix(filepath.Base(file), ".json"))
		if err != nil {
			return err
		}
		db := &database{}
		if err := json.Unmarshal(raw, db); err != nil {
			return err
		}
		s.databases[name] = db
	}
	return nil
}

func (s *server) save(name string) error {
	raw, err := json.Marshal(s.databases[name])
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.file(name)+".new", raw, 0o600); err != nil {
		return err
	}
	return os.Rename(s.file(name)+".new", s.file(name))
}

// answer is what a request gets.
type answer struct {
	status int
	body   any
	header map[string]string
}

func failed(status int, reason string) answer {
	return answer{status: status, body: document{"error": strings.ToLower(strings.ReplaceAll(http.StatusText(status), " ", "_")), "reason": reason}}
}

var done = answer{status: http.StatusCreated, body: document{"ok": true}}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var a answer
	if user, password, _ := r.BasicAuth(); !admitted(password, s.admins[user]) {
		a = failed(http.StatusUnauthorized, "Authentication required.")
	} else {
		a = s.route(w, r)
	}
	log.Printf("%s %s %d", r.Method, r.URL.EscapedPath(), a.status)
	if a.status == 0 {
		return // it has been written
	}
	w.Header().Set("Content-Type", "application/json")
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_ = json.NewEncoder(w).Encode(a.body)
	}
}

func (s *server) route(w http.ResponseWriter, r *http.Request) answer {
	parts := strings.SplitN(strings.Trim(r.URL.EscapedPath(), "/"), "/", 2)
	for i := range parts {
		parts[i], _ = url.PathUnescape(parts[i])
	}
	switch name := parts[0]; {
	case name == "":
		return answer{status: http.StatusOK, body: document{"couchdb": "Welcome", "version": "3.4.2", "vendor": document{"name": "a stand-in"}}}
	case name == "_up":
		return answer{status: http.StatusOK, body: document{"status": "ok"}}
	case name == "_all_dbs":
		return answer{status: http.StatusOK, body: slices.Sorted(maps.Keys(s.databases))}
	case len(parts) == 1:
		return s.database(r.Method, name)
	case s.databases[name] == nil:
		return failed(http.StatusNotFound, "Database does not exist.")
	default:
		return s.inside(w, r, name, parts[1])
	}
}

func (s *server) database(method, name string) answer {
	db := s.databases[name]
	switch {
	case method == http.MethodPut && db != nil:
		return failed(http.StatusPreconditionFailed, "The database could not be created, the file already exists.")
	case method == http.MethodPut:
		s.databases[name] = &database{Docs: map[string]document{}}
		return s.saved(name, done)
	case db == nil:
		return failed(http.StatusNotFound, "Database does not exist.")
	case method == http.MethodDelete:
		delete(s.databases, name)
		if err := os.Remove(s.file(name)); err != nil {
			return failed(http.StatusInternalServerError, err.Error())
		}
		return answer{status: http.StatusOK, body: document{"ok": true}}
	}
	return answer{status: http.StatusOK, body: document{"db_name": name, "doc_count": len(db.Docs), "instance_start_time": "0"}}
}

func (s *server) saved(name string, a answer) answer {
	if err := s.save(name); err != nil {
		return failed(http.StatusInternalServerError, err.Error())
	}
	return a
}

func (s *server) inside(w http.ResponseWriter, r *http.Request, name, what string) answer {
	db := s.databases[name]
	var body document
	if r.Method == http.MethodPut || r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			return failed(http.StatusBadRequest, err.Error())
		}
	}
	switch {
	case what == "_security" && r.Method == http.MethodPut:
		db.Security = body
		return s.saved(name, answer{status: http.StatusOK, body: document{"ok": true}})
	case what == "_security":
		return answer{status: http.StatusOK, body: db.Security}
	case what == "_bulk_docs":
		out := []any{}
		docs, _ := body["docs"].([]any)
		for _, doc := range docs {
			doc, _ := doc.(document)
			id, _ := doc["_id"].(string)
			rev, err := db.put(id, doc, "")
			if err != nil {
				out = append(out, document{"id": id, "error": "conflict", "reason": err.Error()})
				continue
			}
			out = append(out, document{"ok": true, "id": id, "rev": rev})
		}
		return s.saved(name, answer{status: http.StatusCreated, body: out})
	case what == "_all_docs":
		return db.list(r, body)
	case what == "_index" && r.Method == http.MethodGet:
		return answer{status: http.StatusOK, body: document{"total_rows": 0, "indexes": []any{}}}
	case what == "_index" && r.Method == http.MethodPost:
		return answer{status: http.StatusOK, body: document{"result": "created", "id": fmt.Sprintf("_design/%v", body["ddoc"]), "name": body["name"]}}
	case strings.HasPrefix(what, "_") && !strings.HasPrefix(what, "_design/"):
		return failed(http.StatusNotImplemented, "the stand-in has no "+what)
	}
	given := strings.Trim(r.Header.Get("If-Match")+r.URL.Query().Get("rev"), `"`)
	doc := db.Docs[what]
	switch {
	case r.Method == http.MethodPut:
		rev, err := db.put(what, body, given)
		if err != nil {
			return failed(http.StatusConflict, err.Error())
		}
		a := done
		a.header = map[string]string{"ETag": strconv.Quote(rev)}
		a.body = document{"ok": true, "id": what, "rev": rev}
		return s.saved(name, a)
	case doc == nil:
		return failed(http.StatusNotFound, "missing")
	case r.Method == http.MethodDelete:
		delete(db.Docs, what)
		return s.saved(name, answer{status: http.StatusOK, body: document{"ok": true}})
	case doc["_attachments"] != nil && r.Method == http.MethodGet && r.URL.Query().Get("attachments") == "true":
		if err := writeParts(w, doc); err != nil {
			return failed(http.StatusInternalServerError, err.Error())
		}
		return answer{}
	}
	return answer{status: http.StatusOK, body: doc, header: map[string]string{"ETag": strconv.Quote(doc["_rev"].(string))}}
}

// put writes a document, of which the last revision must be known.
func (db *database) put(id string, doc document, rev string) (string, error) {
	if own, ok := doc["_rev"].(string); ok {
		rev = own
	}
	number := 0
	if have := db.Docs[id]; have != nil {
		if have["_rev"] != rev {
			return "", errors.New("Document update conflict.")
		}
		text, _, _ := strings.Cut(rev, "-")
		number, _ = strconv.Atoi(text)
	}
	delete(doc, "_rev")
	if doc["_deleted"] == true {
		delete(db.Docs, id)
		return fmt.Sprintf("%d-deleted", number+1), nil
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	doc["_id"], doc["_rev"] = id, fmt.Sprintf("%d-%s", number+1, hex.EncodeToString(sum[:16]))
	db.Docs[id] = doc
	return doc["_rev"].(string), nil
}

// list gives the documents of some keys, or a range of them.
func (db *database) list(r *http.Request, body document) answer {
	rows := []any{}
	row := func(id string) document {
		doc := db.Docs[id]
		return document{"id": id, "key": id, "value": document{"rev": doc["_rev"]}, "doc": doc}
	}
	if keys, ok := body["keys"].([]any); ok {
		for _, key := range keys {
			if id, _ := key.(string); db.Docs[id] != nil {
				rows = append(rows, row(id))
			} else {
				rows = append(rows, document{"key": key, "error": "not_found"})
			}
		}
		return answer{status: http.StatusOK, body: document{"total_rows": len(db.Docs), "offset": 0, "rows": rows}}
	}
	query := r.URL.Query()
	var from, to string
	_ = json.Unmarshal([]byte(query.Get("startkey")), &from) // absent is the beginning
	_ = json.Unmarshal([]byte(query.Get("endkey")), &to)     // absent is the end
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil {
		limit = len(db.Docs)
	}
	for _, id := range slices.Sorted(maps.Keys(db.Docs)) {
		if id >= from && (to == "" || id < to) && len(rows) < limit {
			rows = append(rows, row(id))
		}
	}
	return answer{status: http.StatusOK, body: document{"total_rows": len(db.Docs), "offset": 0, "rows": rows}}
}

// writeParts gives a document with its attachments as multipart/related.
func writeParts(w http.ResponseWriter, doc document) error {
	attachments, _ := doc["_attachments"].(document)
	var out bytes.Buffer
	parts := multipart.NewWriter(&out)
	plain := maps.Clone(doc)
	stubs := document{}
	for name, a := range attachments {
		stub := maps.Clone(a.(document))
		delete(stub, "data")
		stub["follows"] = true
		stubs[name] = stub
	}
	plain["_attachments"] = stubs
	part, err := parts.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/json"}})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(part).Encode(plain); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(attachments)) {
		a := attachments[name].(document)
		content, err := base64.StdEncoding.DecodeString(a["data"].(string))
		if err != nil {
			return err
		}
		kind, _ := a["content_type"].(string)
		part, err := parts.CreatePart(textproto.MIMEHeader{
			"Content-Type": {kind}, "Content-Disposition": {fmt.Sprintf("attachment; filename=%q", name)},
		})
		if err != nil {
			return err
		}
		if _, err := part.Write(content); err != nil {
			return err
		}
	}
	if err := parts.Close(); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "multipart/related; boundary="+strconv.Quote(parts.Boundary()))
	w.Header().Set("ETag", strconv.Quote(doc["_rev"].(string)))
	_, err = w.Write(out.Bytes())
	return err
}
