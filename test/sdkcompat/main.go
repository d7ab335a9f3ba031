// Command sdkcompat proves that an application written on fabric-sdk-go works on a network of this
// provider, knowing nothing but the connection profile that the provider emits and identities in MSP
// folders. It queries the lifecycle and the ledger, submits a transaction and reads it back through
// the SDK's gateway package, and registers and enrols an identity through the SDK's CA client. It
// prints what it saw as JSON, and exits non-zero at the first thing that does not work.
//
//	sdkcompat -profile profile.yaml -msp MSP -admin-msp MSP -registrar-msp MSP -channel trade -chaincode kv
//
// It is a module and a program of its own because the SDK and the libraries of the provider cannot
// share a binary: both register Fabric's messages with the protobuf runtime.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// settings are the program's arguments.
type settings struct {
	profile                        string
	msp, adminMSP, registrarMSP    string
	channel, chaincode, key, value string
	// enrollID and enrollSecret are those of an identity that is registered already.
	enrollID, enrollSecret string
}

// The environment variables that give an identity to enrol whose secret the caller knows.
const (
	envEnrollID     = "SDKCOMPAT_ENROLL_ID"
	envEnrollSecret = "SDKCOMPAT_ENROLL_SECRET"
)

// report is what the program prints. What was not asked for is under skipped, with the reason.
type report struct {
	Organization string            `json:"organization"`
	MSPID        string            `json:"msp_id"`
	Committed    []chaincode       `json:"committed"`
	Installed    []string          `json:"installed,omitempty"`
	Height       uint64            `json:"height"`
	Written      string            `json:"written"`
	Read         string            `json:"read"`
	Enrolled     []string          `json:"enrolled,omitempty"`
	Skipped      map[string]string `json:"skipped,omitempty"`
}

// chaincode is a definition that is committed on the channel.
type chaincode struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Sequence int64  `json:"sequence"`
}

func main() {
	out := os.Stdout
	// The SDK logs to the standard output, which is for the result.
	os.Stdout = os.Stderr
	if err := run(os.Args[1:], out); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "sdkcompat:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) (failure error) {
	s, err := parse(args)
	if err != nil {
		return err
	}
	// The CA client of the SDK makes folders in the working directory.
	scratch, err := os.MkdirTemp("", "sdkcompat-")
	if err != nil {
		return err
	}
	defer func() { failure = errors.Join(failure, os.RemoveAll(scratch)) }()
	if err := os.Chdir(scratch); err != nil {
		return err
	}
	result, err := check(s, scratch)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(result)
}

func parse(args []string) (settings, error) {
	s := settings{enrollID: os.Getenv(envEnrollID), enrollSecret: os.Getenv(envEnrollSecret)}
	flags := flag.NewFlagSet("sdkcompat", flag.ContinueOnError)
	flags.StringVar(&s.profile, "profile", "profile.yaml", "connection profile in YAML")
	flags.StringVar(&s.msp, "msp", "msp", "MSP folder of the identity that submits")
	flags.StringVar(&s.adminMSP, "admin-msp", "", "MSP folder of an admin, who may ask what is installed")
	flags.StringVar(&s.registrarMSP, "registrar-msp", "", "MSP folder of an identity that may register clients; its name is that of the folder")
	flags.StringVar(&s.channel, "channel", "trade", "channel")
	flags.StringVar(&s.chaincode, "chaincode", "kv", "key-value chaincode with the functions put and get")
	flags.StringVar(&s.key, "key", "sdkcompat", "key to write and read")
	flags.StringVar(&s.value, "value", "written through the SDK", "value to write")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	for _, path := range []*string{&s.profile, &s.msp, &s.adminMSP, &s.registrarMSP} {
		if *path == "" {
			continue
		}
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return s, err
		}
		*path = absolute
	}
	return s, nil
}
