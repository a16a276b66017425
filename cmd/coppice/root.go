package main

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// root returns the tree of commands. Running one of them only decides what
// [Main.Run] will do.
func (m *Main) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "coppice",
		Short: "Keep virtual machines as durable objects on one Linux box",
		Long: `coppice keeps virtual machines as durable objects on one Linux box.

Where a command takes a VM, it is named by its id, by a prefix of its id, or by
its name, if only one VM is called so.

The API's address and key are looked for in this order: --api-url and --api-key,
COPPICE_API_URL and COPPICE_API_KEY, FREESTYLE_API_URL and FREESTYLE_API_KEY, the
data directory of a daemon on this machine.`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("coppice {{.Version}}\n")
	flags := root.PersistentFlags()
	flags.StringVar(&m.apiURL, "api-url", "", "address of the API")
	flags.StringVar(&m.apiKey, "api-key", "", "key for the API")
	flags.BoolVar(&m.json, "json", false, "print JSON for programs")
	m.config.bind(flags, m.Getenv, "data")

	root.AddGroup(
		&cobra.Group{ID: "vm", Title: "Virtual machines:"},
		&cobra.Group{ID: "host", Title: "This machine:"},
	)
	for group, commands := range map[string][]*cobra.Command{
		"vm": {
			m.createCommand(), m.listCommand(), m.getCommand(), m.execCommand(), m.shellCommand(), m.terminalCommand(), m.sshCommand(), m.sshConfigCommand(), m.sshKeysCommand(),
			m.startCommand(), m.stopCommand(), m.killCommand(), m.removeCommand(),
			m.copyCommand(), m.forwardCommand(), m.openCommand(), m.domainCommand(), m.caCommand(), m.logsCommand(), m.historyCommand(), m.statsCommand(), m.resizeCommand(),
			m.keysCommand(), m.identityCommand(), m.limitsCommand(), m.egressCommand(), m.ingressCommand(), m.forkCommand(), m.suspendCommand(), m.snapshotCommand(), m.treeCommand(),
		},
		"host": {
			m.upCommand(), m.downCommand(), m.accountCommand(), m.purgeCommand(), m.prepareCommand(), m.serveCommand(),
			m.doctorCommand(), m.envCommand(), m.benchCommand(), m.mcpCommand(), m.versionCommand(),
		},
	} {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	root.AddCommand(m.testCommands()...)
	return root
}

// then returns what cobra is to call: it leaves run to [Main.Run].
func (m *Main) then(run func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(_ *cobra.Command, args []string) error {
		if err := m.config.check(); err != nil {
			return err
		}
		m.run = func(ctx context.Context) error { return run(ctx, args) }
		return nil
	}
}

// print prints v as JSON if that was asked for, or else what human writes.
func (m *Main) print(v any, human func(w *tabwriter.Writer)) error {
	if m.json {
		enc := json.NewEncoder(m.Stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	w := tabwriter.NewWriter(m.Stdout, 0, 8, 2, ' ', 0)
	human(w)
	return w.Flush()
}

func (m *Main) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  cobra.NoArgs,
		RunE: m.then(func(context.Context, []string) error {
			v := version()
			return m.print(map[string]string{"version": v}, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "coppice", v)
			})
		}),
	}
}
