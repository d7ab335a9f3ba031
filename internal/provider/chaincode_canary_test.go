package provider

import (
	"fmt"
	"strings"
	"testing"
)

func TestCanaryRefusals(t *testing.T) {
	with := func(name, canary, more string) string {
		return fmt.Sprintf(`
resource "fabric_chaincode" %[1]q {
  channel = local.channel
  name    = %[1]q
  version = "1.0"
  server  = { image = "fabricops/kv-chaincode:1.0" }
  canary  = { %[2]s }
  %[3]s
}
`, name, canary, more)
	}
	const fits, enough = `duration = "10s", minimum_calls = 10`, `timeouts = { update = "1h" }`
	config := nowhere + handles + with("none", `duration = "10s", minimum_calls = 1, steps = []`, "") +
		with("values", `steps = ["0", "200%", "some"], duration = "-1s", deadline = "soon", minimum_calls = 0, max_failure_ratio = 1.5, max_latency_ratio = 0.5, max_restarts = -1`, "") +
		with("backwards", fits+`, steps = ["1", "50%", "1", "50%", 2, "100%"]`, enough) +
		with("all", fits+`, steps = ["100%"]`, "") +
		with("early", `duration = "20s", deadline = "10s", minimum_calls = 10`, "") +
		with("long", `duration = "10m", minimum_calls = 10, steps = [1, 2]`, "") +
		with("longer", `duration = "20m", deadline = "30m", minimum_calls = 10, steps = [1, "50%"]`, enough) +
		with("query", fits+`, queries = { nothing = { arguments = ["a"] }, other = { function = "get", identity = local.peer1 } }`, "") +
		with("unbound", fits+`, prometheus = { address = "http://me:canary-password@prometheus:9090", query = "up" }`, "") +
		with("bounds", fits+`, prometheus = { address = "prometheus:9090", query = "", minimum = 2, maximum = 1, ca_certificate = "none" }`, "") +
		with("token", fits+`, prometheus = { address = "http://prometheus:9090", query = "up", minimum = 1, bearer_token_wo = "canary-token" }`, "") + `
resource "fabric_chaincode" "built" {
  channel = local.channel
  name    = "built"
  version = "1.0"
  package = { type = "golang", path = "." }
  canary  = { duration = "10s", minimum_calls = 10 }
}
`
	expectRefusals(t, config,
		"steps list must contain at least 1 elements",
		`A step is a number of servers, such as 2, or a share of them, such as 50%, and not "0"`, "There are no 200% of the servers", `and not "some"`,
		"The duration must be positive", `Not a duration`, "minimum_calls value must be at least 1", "max_failure_ratio value must be between", "max_latency_ratio", "max_restarts value must be at least 0",
		"canary.steps[2]: The step 1 is not more than one before it", "canary.steps[3]: The step 50% is not more",
		"A canary compares new servers with others, and 100% leaves none",
		"The deadline of 10s is before the duration of 20s is over",
		"The steps of canary take up to 41m", "an update ends after 5m", "Set timeouts.update to 41m or more",
		"The steps of canary take up to 1h1m", "an update ends after 1h",
		`canary.queries["nothing"].function: A query needs the function`, "Wrong kind of handle",
		"holds no user and no password", "Any value would pass. Set minimum, maximum or both",
		"begins with http:// or https://", "No value is at least 2 and at most 1", "There is no certificate in PEM in it",
		"A bearer token is sent over HTTPS only",
		"this chaincode has no server",
	)
}

func TestPlainURL(t *testing.T) {
	for _, good := range []string{"http://prometheus:9090", "https://example.com/behind/proxy/", "http://[::1]:9090"} {
		if err := plainURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "prometheus", "ftp://a", "http://", "http://u:secret@a", "http://a?b=c", "http://a#b", "http://u:secret@a:b c/"} {
		if err := plainURL(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
