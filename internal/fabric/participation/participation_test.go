package participation

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// answer writes what an ordering node would.
func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if body != "" {
			w.Header().Set("Content-Type", "application/json")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func client(t *testing.T, handler http.Handler) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &Client{BaseURL: server.URL + "/", HTTP: server.Client()}
}

func TestJoinSendsTheBlock(t *testing.T) {
	c := client(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/participation/v1/channels" {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		// Fabric wants one file by this name and nothing else.
		if err := r.ParseMultipartForm(1 << 20); err != nil {
			t.Error(err)
			return
		}
		if len(r.MultipartForm.File) != 1 || len(r.MultipartForm.Value) != 0 {
			t.Errorf("form %v", r.MultipartForm)
		}
		file, _, err := r.FormFile("config-block")
		if err != nil {
			t.Error(err)
			return
		}
		if content, _ := io.ReadAll(file); string(content) != "the block" {
			t.Errorf("block %q", content)
		}
		answer(http.StatusCreated, `{"name":"trade","url":"/participation/v1/channels/trade","consensusRelation":"consenter","status":"active","height":1}`)(w, r)
	}))
	got, err := c.Join(t.Context(), []byte("the block"))
	want := Channel{Name: "trade", URL: "/participation/v1/channels/trade", ConsensusRelation: RelationConsenter, Status: StatusActive, Height: 1}
	if err != nil || *got != want {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestListAndGet(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /participation/v1/channels", answer(http.StatusOK, `{"systemChannel":null,"channels":[{"name":"a","url":"/a"},{"name":"b","url":"/b"}]}`))
	mux.HandleFunc("GET /participation/v1/channels/a", answer(http.StatusOK, `{"name":"a","status":"onboarding","height":7}`))
	c := client(t, mux)
	if list, err := c.List(t.Context()); err != nil || len(list) != 2 || list[1].Name != "b" {
		t.Errorf("List: %v, %v", list, err)
	}
	if got, err := c.Get(t.Context(), "a"); err != nil || got.Status != StatusOnboarding || got.Height != 7 {
		t.Errorf("Get: %+v, %v", got, err)
	}
	system := client(t, answer(http.StatusOK, `{"systemChannel":{"name":"s","url":"/s"},"channels":[{"name":"a","url":"/a"}]}`))
	if list, err := system.List(t.Context()); err != nil || len(list) != 2 || list[0] != (Channel{Name: "s", URL: "/s", System: true}) || list[1].System {
		t.Errorf("List with a system channel: %v, %v", list, err)
	}
	empty := client(t, answer(http.StatusOK, `{"systemChannel":null,"channels":null}`))
	if list, err := empty.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List of none: %v, %v", list, err)
	}
}

func TestRefusals(t *testing.T) {
	sentinels := []error{ErrExists, ErrNotFound, ErrPendingRemoval}
	join := func(c *Client) error { _, err := c.Join(context.Background(), nil); return err }
	get := func(c *Client) error { _, err := c.Get(context.Background(), "trade"); return err }
	list := func(c *Client) error { _, err := c.List(context.Background()); return err }
	remove := func(c *Client) error { return c.Remove(context.Background(), "trade") }
	for name, test := range map[string]struct {
		call   func(*Client) error
		answer http.HandlerFunc
		status int
		want   error
	}{
		"join, exists":            {join, answer(405, `{"error":"cannot join: channel already exists"}`), 405, ErrExists},
		"join, pending removal":   {join, answer(409, `{"error":"cannot join: channel pending removal"}`), 409, ErrPendingRemoval},
		"join, bad block":         {join, answer(400, `{"error":"invalid join block"}`), 400, nil},
		"join, disabled":          {join, answer(503, `{"error":"channel participation API is disabled"}`), 503, nil},
		"get, absent":             {get, answer(404, `{"error":"channel does not exist"}`), 404, ErrNotFound},
		"get, another server":     {get, answer(404, ""), 404, nil},
		"get, other JSON":         {get, answer(404, `{"message":"no such route"}`), 404, nil},
		"get, wrong method":       {get, answer(405, `{"error":"invalid request method: GET"}`), 405, nil},
		"remove, absent":          {remove, answer(404, `{"error":"cannot remove: channel does not exist"}`), 404, ErrNotFound},
		"remove, pending":         {remove, answer(409, `{"error":"cannot remove: channel pending removal"}`), 409, ErrPendingRemoval},
		"remove, another server":  {remove, answer(404, ""), 404, nil},
		"list, 404 means nothing": {list, answer(404, `{"error":"what"}`), 404, nil},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.call(client(t, test.answer))
			var refused *Error
			if !errors.As(err, &refused) || refused.Status != test.status || refused.Message == "" {
				t.Fatalf("%v", err)
			}
			for _, sentinel := range sentinels {
				if errors.Is(err, sentinel) != errors.Is(test.want, sentinel) {
					t.Errorf("errors.Is(err, %q) is %t", sentinel, errors.Is(err, sentinel))
				}
			}
		})
	}
}

func TestForeignAnswerIsShown(t *testing.T) {
	c := client(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "<html>nginx</html>")
	}))
	if _, err := c.Get(t.Context(), "trade"); err == nil || !strings.Contains(err.Error(), "<html>nginx</html>") {
		t.Errorf("%v", err)
	}
	broken := client(t, answer(http.StatusOK, "{"))
	if _, err := broken.Get(t.Context(), "trade"); err == nil {
		t.Error("half an answer was understood")
	}
}

func TestNamesAreEscaped(t *testing.T) {
	c := client(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.EscapedPath() != "/participation/v1/channels/a%2Fb%3F" {
			t.Errorf("path %s", r.URL.EscapedPath())
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	if err := c.Remove(t.Context(), "a/b?"); err != nil {
		t.Error(err)
	}
}

func TestAwaitRemoved(t *testing.T) {
	t.Run("gone after a while", func(t *testing.T) {
		asked := 0
		c := client(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked < 3 {
				answer(http.StatusOK, `{"name":"trade","status":"inactive"}`)(w, r)
				return
			}
			answer(http.StatusNotFound, `{"error":"channel does not exist"}`)(w, r)
		}))
		if err := c.AwaitRemoved(t.Context(), "trade"); err != nil || asked != 3 {
			t.Errorf("%v after %d questions", err, asked)
		}
	})
	t.Run("given up by the node", func(t *testing.T) {
		c := client(t, answer(http.StatusOK, `{"name":"trade","status":"failed"}`))
		if err := c.AwaitRemoved(t.Context(), "trade"); !errors.Is(err, ErrRemovalFailed) {
			t.Errorf("%v", err)
		}
	})
	t.Run("another server", func(t *testing.T) {
		c := client(t, answer(http.StatusNotFound, ""))
		if err := c.AwaitRemoved(t.Context(), "trade"); err == nil {
			t.Error("a 404 of another server passed for a removal")
		}
	})
	t.Run("node down for a moment", func(t *testing.T) {
		asked := 0
		c := client(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked < 3 {
				panic(http.ErrAbortHandler) // closes the connection without an answer
			}
			answer(http.StatusNotFound, `{"error":"channel does not exist"}`)(w, r)
		}))
		if err := c.AwaitRemoved(t.Context(), "trade"); err != nil {
			t.Error(err)
		}
	})
	t.Run("never", func(t *testing.T) {
		c := client(t, answer(http.StatusOK, `{"name":"trade","status":"inactive"}`))
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer cancel()
		err := c.AwaitRemoved(ctx, "trade")
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), StatusInactive) {
			t.Errorf("%v", err)
		}
	})
}
