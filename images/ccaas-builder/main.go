package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// configEnv names the environment variable whose JSON object gives the values
// for the templates in connection.json. Each peer sets its own, so that one
// package, and so one package id, serves every peer.
const configEnv = "CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG"

// errUsage says that the program was called under an unknown name or with
// the wrong number of arguments.
var errUsage = errors.New("wrong usage")

func main() {
	if err := run(filepath.Base(os.Args[0]), os.Args[1:], os.Getenv(configEnv)); err != nil {
		fmt.Fprintf(os.Stderr, "ccaas builder: %v\n", err)
		os.Exit(1)
	}
}

// run does the step called name ("detect", "build" or "release") with the
// directories in args. config is the text of the variable [configEnv].
func run(name string, args []string, config string) error {
	switch {
	case name == "detect" && len(args) == 2:
		return detect(args[1])
	case name == "build" && len(args) == 3:
		return build(args[0], args[2], config)
	case name == "release" && len(args) == 2:
		return release(args[0], args[1])
	default:
		return fmt.Errorf("%w: %s with %d arguments; know detect SOURCE METADATA, build SOURCE METADATA OUTPUT, release BUILD RELEASE",
			errUsage, name, len(args))
	}
}
