package prometheus

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestValue reads what the documentation of the HTTP API says that answers look like.
func TestValue(t *testing.T) {
	const vector, scalar = `{"status":"success","data":{"resultType":"vector","result":[`, `{"status":"success","data":{"resultType":"scalar","result":[1435781451.781,`
	for name, test := range map[string]struct {
		status int
		body   string
		want   float64
		noData bool
		says   string
	}{
		"vector":         {200, vector + `{"metric":{"__name__":"up","job":"peers"},"value":[1435781451.781,"1.5"]}]}}`, 1.5, false, ""},
		"scalar":         {200, scalar + `"0"]}}`, 0, false, ""},
		"with warnings":  {200, `{"status":"success","warnings":["w"],"data":{"resultType":"scalar","result":[1,"3"]}}`, 3, false, ""},
		"infinite":       {200, scalar + `"+Inf"]}}`, 0, false, ""},
		"empty":          {200, vector + `]}}`, 0, true, ""},
		"not a number":   {200, scalar + `"NaN"]}}`, 0, true, ""},
		"several":        {200, vector + `{"metric":{},"value":[1,"1"]},{"metric":{},"value":[1,"2"]}]}}`, 0, false, "2 elements"},
		"a range":        {200, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"]]}]}}`, 0, false, "is a matrix"},
		"a text":         {200, `{"status":"success","data":{"resultType":"string","result":[1,"x"]}}`, 0, false, "is a string"},
		"no value":       {200, vector + `{"metric":{}}]}}`, 0, false, "no number"},
		"a bad query":    {400, `{"status":"error","errorType":"bad_data","error":"1:5: parse error: unexpected end of input"}`, 0, false, "400 Bad Request: bad_data: 1:5: parse error"},
		"something else": {200, `<html>`, 0, false, "not in JSON"},
		"a login page":   {401, `Unauthorized`, 0, false, "401 Unauthorized"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/behind/a/proxy/api/v1/query" || r.Method != http.MethodPost || r.FormValue("query") != `sum(up{job="peers"})` || r.Header.Get("Authorization") != "Bearer canary-token" {
					t.Errorf("%s %s, query %q, authorization %q", r.Method, r.URL, r.FormValue("query"), r.Header.Get("Authorization"))
				}
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.body))
			}))
			defer server.Close()
			client := Client{Address: server.URL + "/behind/a/proxy/", Token: "canary-token", HTTP: server.Client()}
			got, err := client.Value(t.Context(), `sum(up{job="peers"})`)
			switch {
			case test.noData:
				if !errors.Is(err, ErrNoData) {
					t.Errorf("got %v, %v", got, err)
				}
			case test.says != "":
				if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "canary-token") {
					t.Errorf("got %v, %v", got, err)
				}
			case err != nil || name != "infinite" && got != test.want || name == "infinite" && got < 1e300:
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
