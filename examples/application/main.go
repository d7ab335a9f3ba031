// Command application is a small client of a Fabric network: it stores a value under a key, and
// reads it back, through the Gateway of a peer.
//
//	application put KEY VALUE    submits a transaction and waits until it is committed
//	application get KEY          asks the ledger
//
// All that it knows of the network is the connection profile; who it is, is in the MSP folder.
// The README says how Terraform gives both.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-gateway/pkg/hash"
	"google.golang.org/grpc/status"

	gatewaypb "github.com/hyperledger/fabric-protos-go-apiv2/gateway"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "error:", explain(err))
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("application", flag.ContinueOnError)
	profileFile := flags.String("profile", "profile.yaml", "connection profile, YAML or JSON")
	mspFolder := flags.String("msp", "msp", "MSP folder of the identity to act as")
	channel := flags.String("channel", "trade", "channel")
	chaincode := flags.String("chaincode", "kv", "chaincode")
	timeout := flags.Duration("timeout", time.Minute, "how long everything may take")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: application [flags] put KEY VALUE | get KEY")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()

	profile, err := readProfile(*profileFile)
	if err != nil {
		return err
	}
	identity, sign, err := readIdentity(*mspFolder, profile.mspID())
	if err != nil {
		return err
	}
	connection, err := profile.connect()
	if err != nil {
		return err
	}
	defer connection.Close()
	gateway, err := client.Connect(identity, client.WithSign(sign), client.WithHash(hash.SHA256), client.WithClientConnection(connection))
	if err != nil {
		return fmt.Errorf("unable to connect to the gateway: %w", err)
	}
	defer gateway.Close()
	contract := gateway.GetNetwork(*channel).GetContract(*chaincode)

	switch command := flags.Args(); {
	case len(command) == 3 && command[0] == "put":
		return put(ctx, contract, command[1], command[2], out)
	case len(command) == 2 && command[0] == "get":
		return get(ctx, contract, command[1], out)
	default:
		flags.Usage()
		return errors.New("say put KEY VALUE or get KEY")
	}
}

// put has the peers that the endorsement policy asks for execute the call, submits the transaction,
// and waits until the gateway's peer has committed it.
func put(ctx context.Context, contract *client.Contract, key, value string, out io.Writer) error {
	proposal, err := contract.NewProposal("put", client.WithArguments(key, value))
	if err != nil {
		return err
	}
	transaction, err := proposal.EndorseWithContext(ctx)
	if err != nil {
		return fmt.Errorf("unable to have the transaction endorsed: %w", err)
	}
	commit, err := transaction.SubmitWithContext(ctx)
	if err != nil {
		return fmt.Errorf("unable to submit transaction %s: %w", transaction.TransactionID(), err)
	}
	result, err := commit.StatusWithContext(ctx)
	if err != nil {
		return fmt.Errorf("unable to learn what became of transaction %s: %w", transaction.TransactionID(), err)
	}
	if !result.Successful {
		return fmt.Errorf("transaction %s is in block %d and is not valid: %s", result.TransactionID, result.BlockNumber, result.Code)
	}
	fmt.Fprintf(out, "%s is committed in block %d by transaction %s\n", key, result.BlockNumber, result.TransactionID)
	return nil
}

// get has one peer execute the call. Nothing is written.
func get(ctx context.Context, contract *client.Contract, key string, out io.Writer) error {
	proposal, err := contract.NewProposal("get", client.WithArguments(key))
	if err != nil {
		return err
	}
	value, err := proposal.EvaluateWithContext(ctx)
	if err != nil {
		return fmt.Errorf("unable to read %s: %w", key, err)
	}
	fmt.Fprintf(out, "%s\n", value)
	return nil
}

// explain adds what the peers said, which the gateway hands on beside its own message.
func explain(err error) string {
	text := err.Error()
	for _, detail := range status.Convert(err).Details() {
		if said, ok := detail.(*gatewaypb.ErrorDetail); ok {
			text += fmt.Sprintf("\n  %s (%s): %s", said.GetAddress(), said.GetMspId(), said.GetMessage())
		}
	}
	return text
}
