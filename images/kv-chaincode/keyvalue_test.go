package main

import (
	"testing"

	"google.golang.org/grpc/credentials/insecure"
)

func TestKeyValue(t *testing.T) {
	address := startServer(t, settings{chaincodeID: "kv_1:abc", address: "127.0.0.1:0"})
	p := connectPeer(t, dial(t, address, insecure.NewCredentials()))
	if p.registered != "kv_1:abc" {
		t.Errorf("registered as %q, want kv_1:abc", p.registered)
	}

	// In order: each step sees what the earlier ones wrote.
	steps := []struct {
		name      string
		transient map[string][]byte
		args      []string
		want      string // payload, when wantError is empty
		wantError string
	}{
		{name: "version", args: []string{"version"}, want: "test"},
		{name: "get, absent", args: []string{"get", "a"}, wantError: `get: no value for key "a"`},
		{name: "put returns the value", args: []string{"put", "a", "1"}, want: "1"},
		{name: "get", args: []string{"get", "a"}, want: "1"},
		{name: "put again", args: []string{"put", "a", "2"}, want: "2"},
		{name: "get again", args: []string{"get", "a"}, want: "2"},
		{name: "put nothing", args: []string{"put", "b", ""}, wantError: "put: the value is empty"},
		{name: "put under a longer key", args: []string{"put", "a/x", `quote"`}, want: `quote"`},
		{name: "put beyond ASCII", args: []string{"put", "ä", "3"}, want: "3"},
		{name: "list all", args: []string{"list"}, want: `{"a":"2","a/x":"quote\"","ä":"3"}`},
		{name: "list all, empty prefix", args: []string{"list", ""}, want: `{"a":"2","a/x":"quote\"","ä":"3"}`},
		{name: "list prefix", args: []string{"list", "a"}, want: `{"a":"2","a/x":"quote\""}`},
		{name: "list longer prefix", args: []string{"list", "a/"}, want: `{"a/x":"quote\""}`},
		{name: "list nothing", args: []string{"list", "zz"}, want: `{}`},
		{name: "delete", args: []string{"delete", "a"}},
		{name: "get, deleted", args: []string{"get", "a"}, wantError: `get: no value for key "a"`},
		{name: "delete, absent", args: []string{"delete", "a"}},
		{name: "getPrivate, absent", args: []string{"getPrivate", "secrets", "a"}, wantError: `getPrivate: no value for key "a"`},
		{
			name: "putPrivate", args: []string{"putPrivate", "secrets", "a"},
			transient: map[string][]byte{"value": []byte("hidden")},
		},
		{name: "getPrivate", args: []string{"getPrivate", "secrets", "a"}, want: "hidden"},
		{name: "getPrivate of another collection", args: []string{"getPrivate", "more", "a"}, wantError: `getPrivate: no value for key "a"`},
		{name: "private data are not public", args: []string{"get", "a"}, wantError: `get: no value for key "a"`},
		{
			name: "putPrivate without the value", args: []string{"putPrivate", "secrets", "a"},
			transient: map[string][]byte{"other": []byte("x")},
			wantError: `putPrivate: the transient map has no "value"`,
		},
		{
			name: "putPrivate of nothing", args: []string{"putPrivate", "secrets", "a"},
			transient: map[string][]byte{"value": nil}, wantError: "putPrivate: the value is empty",
		},
		{name: "too few arguments", args: []string{"put", "a"}, wantError: "put: wrong number of arguments: 1"},
		{name: "too many arguments", args: []string{"list", "a", "b"}, wantError: "list: wrong number of arguments: 2"},
		{name: "unknown function", args: []string{"steal"}, wantError: `unknown function "steal"`},
		{name: "no function", wantError: `unknown function ""`},
	}
	for _, step := range steps {
		response := p.invoke(step.transient, step.args...)
		wantStatus := int32(200)
		if step.wantError != "" {
			wantStatus = 500
		}
		if response.GetStatus() != wantStatus || response.GetMessage() != step.wantError || string(response.GetPayload()) != step.want {
			t.Errorf("%s: status %d, message %q, payload %q; want %d, %q, %q", step.name,
				response.GetStatus(), response.GetMessage(), response.GetPayload(), wantStatus, step.wantError, step.want)
		}
	}
}
