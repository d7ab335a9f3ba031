package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// packageType is the "type" in metadata.json of the packages this builder takes.
const packageType = "ccaas"

// connectionFile is the name of the connection details in the package, in the
// build output and in the release.
const connectionFile = "connection.json"

// errOtherType says that a package is for another builder.
var errOtherType = errors.New("package is for another builder")

// detect returns nil when metadata.json in the folder metadataDir has the type
// "ccaas", and [errOtherType] when it has another one.
func detect(metadataDir string) error {
	text, err := readFile(metadataDir, "metadata.json")
	if err != nil {
		return fmt.Errorf("unable to read the package metadata: %w", err)
	}
	var metadata struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(text, &metadata); err != nil {
		return fmt.Errorf("unable to parse the package metadata: %w", err)
	}
	if metadata.Type != packageType {
		return fmt.Errorf("%w: its type is %q, not %q", errOtherType, metadata.Type, packageType)
	}
	return nil
}

// build writes into outputDir the connection.json of sourceDir, its templates
// filled from config (see [renderConnection]), and the folder META-INF when
// the package has one.
func build(sourceDir, outputDir, config string) error {
	text, err := readFile(sourceDir, connectionFile)
	if err != nil {
		return fmt.Errorf("unable to read the package's %s: %w", connectionFile, err)
	}
	rendered, err := renderConnection(text, config)
	if err != nil {
		return fmt.Errorf("unable to render the package's %s: %w", connectionFile, err)
	}
	if err := writeFile(outputDir, connectionFile, rendered); err != nil {
		return fmt.Errorf("unable to write the build output: %w", err)
	}
	return copyFolder(sourceDir, "META-INF", outputDir, "META-INF")
}

// release copies into releaseDir what the peer reads back of a build: the
// connection details as chaincode/server/connection.json, and the state
// database metadata (CouchDB indexes) as statedb.
func release(buildDir, releaseDir string) error {
	text, err := readFile(buildDir, connectionFile)
	if err != nil {
		return fmt.Errorf("unable to read the build's %s: %w", connectionFile, err)
	}
	if err := writeFile(releaseDir, "chaincode/server/"+connectionFile, text); err != nil {
		return fmt.Errorf("unable to write the release: %w", err)
	}
	return copyFolder(buildDir, "META-INF/statedb", releaseDir, "statedb")
}

// readFile returns the file at path, relative to dir; a link that leads out of
// dir is an error.
func readFile(dir, path string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	return root.ReadFile(path)
}

// writeFile writes the file at path, relative to dir, and makes the folders
// above it. Only the peer's user can read it: connection details may hold the
// peer's client key for the chaincode server.
func writeFile(dir, path string, text []byte) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	if err := root.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return root.WriteFile(path, text, 0o600)
}

// copyFolder copies the tree at path from, relative to fromDir, to the new
// folder at path to, relative to toDir. That there is nothing at from is no
// error: chaincode metadata is optional.
func copyFolder(fromDir, from, toDir, to string) error {
	root, err := os.OpenRoot(fromDir)
	if err != nil {
		return fmt.Errorf("unable to read chaincode metadata: %w", err)
	}
	defer func() { _ = root.Close() }()
	info, err := root.Stat(from)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("unable to read chaincode metadata: %w", err)
	case !info.IsDir():
		return fmt.Errorf("unable to read chaincode metadata: %s is not a folder", from)
	}
	tree, err := fs.Sub(root.FS(), from)
	if err != nil {
		return fmt.Errorf("unable to read chaincode metadata: %w", err)
	}
	if err := os.CopyFS(filepath.Join(toDir, to), tree); err != nil {
		return fmt.Errorf("unable to copy chaincode metadata: %w", err)
	}
	return nil
}
