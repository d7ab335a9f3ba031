package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// networkConfig is a network, and nothing else.
func networkConfig(name, attributes string) string {
	return fmt.Sprintf("resource \"fabric_network\" \"this\" {\n  name = %q\n%s\n}\n", name, attributes)
}

func TestAccNetwork(t *testing.T) {
	name := networkName(t)
	sweepNetwork(t, name)
	seen := &remembered{t: t}
	const address = "fabric_network.this"
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{
				Config: networkConfig(name, `domain = "example.com"`),
				Check: resource.ComposeAggregateTestCheckFunc(
					resource.TestCheckResourceAttr(address, "status", "running"),
					resource.TestCheckResourceAttr(address, "existing", "false"),
					resource.TestCheckResourceAttrPair(address, "handle.owner_id", address, "owner_id"),
					resource.TestCheckResourceAttr(address, "handle.domain", "example.com"),
					seen.take("owner", address, "owner_id"),
				),
			},
			{ResourceName: address, ImportState: true, ImportStateId: name, ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "name"},
			{ResourceName: address, ImportState: true, ImportStateId: name, ImportStateKind: resource.ImportBlockWithID},
			{ // somebody removes it
				PreConfig:        func() { removeNetwork(t, name) },
				Config:           networkConfig(name, `domain = "example.com"`),
				ConfigPlanChecks: onlyUpdated(address),
				Check:            seen.same("owner", address, "owner_id"),
			},
			{ // somebody else takes its name
				PreConfig: func() {
					removeNetwork(t, name)
					foreignNetwork(t, name, nil)
				},
				Config:      networkConfig(name, `domain = "example.com"`),
				ExpectError: tells(`Unable to read network `+name, `a network named "`+name+`" exists that this provider did not make`),
			},
			{
				PreConfig:        func() { removeNetwork(t, name) },
				Config:           networkConfig(name, `domain = "example.com"`),
				ConfigPlanChecks: onlyUpdated(address),
			},
			{ // what only bounds operations changes nothing
				Config:           networkConfig(name, "domain = \"example.com\"\n timeouts = { create = \"1m\", update = \"1m\", delete = \"1m\" }"),
				ConfigPlanChecks: onlyUpdated(address),
				Check:            seen.same("owner", address, "owner_id"),
			},
			{ // another domain is another network
				Config: networkConfig(name, `domain = "example.org"`),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction(address, plancheck.ResourceActionDestroyBeforeCreate),
				}},
			},
		},
	})
}

// A network of somebody else is used only when that is said, and never removed.
func TestAccExistingNetwork(t *testing.T) {
	name := networkName(t)
	sweepNetwork(t, name)
	const address = "fabric_network.this"
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		Steps: []resource.TestStep{
			{
				Config:      networkConfig(name, "existing = true"),
				ExpectError: tells("Unable to create network "+name, "does not exist on the engine"),
			},
			{
				PreConfig:   func() { foreignNetwork(t, name, nil) },
				Config:      networkConfig(name, ""),
				ExpectError: tells("Unable to create network "+name, "that this provider did not make", "existing = true"),
			},
			{
				PreConfig: func() {
					removeNetwork(t, name)
					foreignNetwork(t, name, map[string]string{engine.LabelOwner: "somebody", engine.LabelNetwork: name})
				},
				Config:      networkConfig(name, ""),
				ExpectError: tells("Unable to create network "+name, `with owner_id "somebody"`),
			},
			{
				Config: networkConfig(name, "existing = true\n domain = \"example.com\"") + `
resource "fabric_ca" "this" {
  network             = fabric_network.this.handle
  name                = "ca.org1"
  organization        = "org1"
  desired_state       = "stopped"
  deletion_protection = false
}
`,
				Check: resource.ComposeAggregateTestCheckFunc(
					resource.TestCheckResourceAttr(address, "status", "running"),
					resource.TestCheckResourceAttr("fabric_ca.this", "status", "stopped"),
				),
			},
			{ResourceName: address, ImportState: true, ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "name",
				ImportStateIdFunc: func(s *terraform.State) (string, error) {
					return name + "/" + s.RootModule().Resources[address].Primary.Attributes["owner_id"], nil
				}},
			{ // it is there after everything of ours is gone
				Config:  networkConfig(name, "existing = true\n domain = \"example.com\""),
				Destroy: true,
			},
		},
		CheckDestroy: func(*terraform.State) error {
			found, err := localEngine(t).Network(context.Background(), name)
			if err == nil && found.Labels[engine.LabelOwner] != "somebody" {
				err = fmt.Errorf("network %s was made anew", name)
			}
			return err
		},
	})
}

// An engine that is gone, or another one at the same address, is an error that tells the way out. It
// is never an empty world.
func TestAccEngine(t *testing.T) {
	name := networkName(t)
	sweepNetwork(t, name)
	config := func(host string) string {
		return fmt.Sprintf("provider \"fabric\" {\n  docker_host = %q\n}\n", host) + networkConfig(name, "")
	}
	other := otherEngine(t)
	real := os.Getenv("DOCKER_HOST")
	if real == "" {
		real = defaultDockerHost
	}
	refused := func(why ...string) *regexp.Regexp {
		return tells(slices.Concat([]string{"Unable to use the engine"}, why, []string{"docker_host", "terraform state rm"})...)
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{Config: config("unix:///nonexistent.sock"), PlanOnly: true, ExpectNonEmptyPlan: true},
			{
				Config:      config("unix:///nonexistent.sock"),
				ExpectError: tells("Unable to create network "+name, "the engine does not answer at unix:///nonexistent.sock", "docker_host"),
			},
			{ // known at apply only
				Config: "resource \"terraform_data\" \"host\" {\n  input = \"" + real + "\"\n}\n" +
					"provider \"fabric\" {\n  docker_host = terraform_data.host.output\n}\n" + networkConfig(name, ""),
			},
			{ // a plan that reads cannot be made without the address, and another one is not tried
				PreConfig: func() { t.Setenv("DOCKER_HOST", "unix:///nonexistent.sock") },
				Config: "resource \"terraform_data\" \"host\" {\n  input = \"" + real + "\"\n  triggers_replace = [1]\n}\n" +
					"provider \"fabric\" {\n  docker_host = terraform_data.host.output\n}\n" + networkConfig(name, ""),
				ExpectError: tells("docker_host in the provider block: its value is not known yet", "-target"),
			},
			{Config: config("unix:///nonexistent.sock"), ExpectError: refused("does not answer at unix:///nonexistent.sock")},
			{Config: config("unix:///nonexistent.sock"), Destroy: true, ExpectError: refused("unix:///nonexistent.sock")},
			{Config: config(other), ExpectError: refused("is not the engine", "another engine answers at this address")},
			{Config: config(other), Destroy: true, ExpectError: refused("is not the engine")},
			{
				PreConfig: func() { t.Setenv("DOCKER_HOST", real) },
				Config:    config(real),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction("fabric_network.this", plancheck.ResourceActionNoop),
				}},
			},
		},
	})
}

// otherEngine stands between and says that it is another engine.
func otherEngine(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "engine.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "engine"})
	proxy.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(defaultDockerHost, "unix://"))
	}}
	proxy.ModifyResponse = func(resp *http.Response) error {
		if !strings.HasSuffix(resp.Request.URL.Path, "/info") {
			return nil
		}
		info := map[string]any{}
		if err := json.NewDecoder(resp.Body).Decode(&info); err != nil {
			return err
		}
		info["ID"] = "another-engine"
		raw, err := json.Marshal(info)
		resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(string(raw))), int64(len(raw))
		resp.Header.Set("Content-Length", fmt.Sprint(len(raw)))
		return err
	}
	server := &http.Server{Handler: proxy, ReadHeaderTimeout: time.Minute}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { _ = server.Close() })
	return "unix://" + socket
}

// TestAccPlanWithoutEngine plans a whole network of new things with no engine at all.
func TestAccPlanWithoutEngine(t *testing.T) {
	everything := strings.Replace(channelConfig("dev", "3.1.1", "org1", "org2"), "fabric_version =", "docker_host = \"unix:///nonexistent.sock\"\n  fabric_version =", 1)
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		Steps:                    []resource.TestStep{{Config: everything, PlanOnly: true, ExpectNonEmptyPlan: true}},
	})
}

// tells is a pattern for errors that hold all the texts in this order. Terraform wraps lines.
func tells(texts ...string) *regexp.Regexp {
	parts := make([]string, len(texts))
	for i, text := range texts {
		words := strings.Fields(text)
		for j, word := range words {
			words[j] = regexp.QuoteMeta(word)
		}
		parts[i] = strings.Join(words, `[\s│]+`)
	}
	return regexp.MustCompile(`(?is)` + strings.Join(parts, `.*`))
}

func foreignNetwork(t *testing.T, name string, labels map[string]string) {
	t.Helper()
	if _, err := dockerClient(t).NetworkCreate(t.Context(), name, client.NetworkCreateOptions{Labels: labels}); err != nil {
		t.Fatal(err)
	}
}

// sweepNetwork takes away what a test that failed left; nothingLeft has told of it by then.
func sweepNetwork(t *testing.T, name string) {
	t.Helper()
	if os.Getenv(resource.EnvTfAcc) == "" {
		return
	}
	e := localEngine(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		labels := map[string]string{engine.LabelNetwork: name}
		nodes, err := e.Nodes(ctx, labels)
		for _, n := range nodes {
			err = errors.Join(err, e.RemoveNode(ctx, n.Name, n.Labels[engine.LabelOwner]))
		}
		leases, leased := e.Leases(ctx, labels)
		for _, l := range leases {
			leased = errors.Join(leased, e.RemoveLease(ctx, l))
		}
		volumes, listed := e.Volumes(ctx, labels)
		for _, v := range volumes {
			listed = errors.Join(listed, e.RemoveVolume(ctx, v.Name, v.Labels[engine.LabelOwner]))
		}
		_, found := e.Network(ctx, name) // one of somebody else is the test's as well
		if found == nil {
			_, found = dockerClient(t).NetworkRemove(ctx, name, client.NetworkRemoveOptions{})
		} else if errors.Is(found, engine.ErrNotFound) {
			found = nil
		}
		if err := errors.Join(err, leased, listed, found); err != nil {
			t.Error(err)
		}
	})
}

// remembered compares what a step sees with what an earlier one saw.
type remembered struct {
	t     *testing.T
	facts map[string]string
}

func (r *remembered) put(name, value string) {
	if r.facts == nil {
		r.facts = map[string]string{}
	}
	r.facts[name] = value
}

func (r *remembered) take(name, address, key string) resource.TestCheckFunc {
	return func(s *terraform.State) error {
		value, err := stateAttribute(s, address, key)
		r.put(name, value)
		return err
	}
}

func (r *remembered) same(name, address, key string) resource.TestCheckFunc {
	return r.compare(name, address, key, true)
}

func (r *remembered) another(name, address, key string) resource.TestCheckFunc {
	return r.compare(name, address, key, false)
}

func (r *remembered) compare(name, address, key string, same bool) resource.TestCheckFunc {
	return func(s *terraform.State) error {
		value, err := stateAttribute(s, address, key)
		if err == nil && (value == r.facts[name]) != same {
			err = fmt.Errorf("%s of %s was %q and is %q", key, address, r.facts[name], value)
		}
		return err
	}
}

func stateAttribute(s *terraform.State, address, key string) (string, error) {
	found := s.RootModule().Resources[address]
	if found == nil {
		return "", fmt.Errorf("%s is not in the state", address)
	}
	value := found.Primary.Attributes[key]
	if value == "" {
		return "", fmt.Errorf("%s of %s is empty", key, address)
	}
	return value, nil
}
