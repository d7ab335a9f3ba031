package realtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"os/exec"
	"path"
	"strings"
	"testing"
	"time"
)

// docker runs one command of the engine's CLI and gives its output.
func docker(t *testing.T, input []byte, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "docker", args...)
	command.Stdin = bytes.NewReader(input)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(stdout.String())
}

// container describes a node to run.
type container struct {
	name, image string
	env         map[string]string
	ports       []string
	// files are put into the container before it starts, by absolute path.
	files map[string][]byte
}

// create makes a container that the test removes, with its volumes, when it ends.
func (c container) create(t *testing.T, network string) {
	t.Helper()
	args := []string{"create", "--name", c.name, "--hostname", c.name, "--network", network}
	for key, value := range c.env {
		args = append(args, "--env", key+"="+value)
	}
	for _, port := range c.ports {
		args = append(args, "--publish", "127.0.0.1::"+port)
	}
	docker(t, nil, append(args, c.image)...)
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := exec.CommandContext(context.Background(), "docker", "logs", "--tail", "15", c.name).CombinedOutput()
			t.Logf("last log lines of %s:\n%s", c.name, logs)
		}
		docker(t, nil, "rm", "--force", "--volumes", c.name)
	})
	if len(c.files) > 0 {
		docker(t, folder(t, c.files), "cp", "-", c.name+":/")
	}
}

func (c container) start(t *testing.T) {
	t.Helper()
	docker(t, nil, "start", c.name)
}

// address is where the host reaches a port of a started container.
func address(t *testing.T, name, port string) string {
	t.Helper()
	return strings.Split(docker(t, nil, "port", name, port), "\n")[0]
}

// folder makes a tar of the files, theirs and their folders' owner being the nodes' user.
func folder(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	writer := tar.NewWriter(&packed)
	made := map[string]bool{"/": true, "/etc": true, ".": true}
	var makeFolder func(string)
	write := func(header *tar.Header, content []byte) {
		header.Uid, header.Gid = 1000, 1000
		if err := writer.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	makeFolder = func(name string) {
		if made[name] {
			return
		}
		made[name] = true
		makeFolder(path.Dir(name))
		write(&tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(name, "/") + "/", Mode: 0o755}, nil)
	}
	for name, content := range files {
		makeFolder(path.Dir(name))
		write(&tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(name, "/"), Mode: 0o600, Size: int64(len(content))}, content)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// gzipped makes a gzipped tar of the files, in no particular order.
func gzipped(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	if _, err := writer.Write(folder(t, files)); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}
