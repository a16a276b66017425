package client_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

func Example() {
	ctx := context.Background()
	c, err := client.New(os.Getenv("COPPICE_API_URL"), os.Getenv("COPPICE_API_KEY"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	vm, err := c.Create(ctx, api.CreateVM{VMSpec: api.VMSpec{Name: new("worker")}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Delete(ctx, vm.ID)

	// Three VMs that go on from where it is now.
	forked, err := c.Fork(ctx, vm.ID, api.ForkVM{Count: new(3)})
	if err != nil {
		log.Fatal(err)
	}
	for _, fork := range forked.Forks {
		_, err := c.Exec(ctx, fork.ID, coppice.ExecSpec{Command: "hostname"}, coppice.Stdio{Stdout: os.Stdout})
		if coppice.CodeOf(err) == coppice.CodeVMNotRunning {
			fmt.Println("somebody has stopped it meanwhile")
		} else if err != nil {
			log.Fatal(err)
		}
		if _, err := c.Delete(ctx, fork.ID); err != nil {
			log.Fatal(err)
		}
	}
}
