package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice/client"
)

func (m *Main) mcpCommand() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "mcp",
		Short: "Give VMs to an agent as tools, by the Model Context Protocol",
		Long: `Give VMs to an agent as tools, by the Model Context Protocol.

It is spoken on stdin and stdout, for the client that starts this command; the
agent acts by the API key that this command finds, as every other does.

With --listen it is spoken by HTTP, at /mcp, and each client sends an API key of
its own, as "Authorization: Bearer KEY".`,
		Example: "  claude mcp add coppice -- coppice mcp",
		Args:    cobra.NoArgs,
		RunE: m.then(func(ctx context.Context, _ []string) error {
			if listen != "" {
				return m.serveMCP(ctx, listen)
			}
			c, err := m.client()
			if err != nil {
				return err
			}
			defer c.Close()
			return newMCPServer(c).Run(ctx, m.stdio())
		}),
	}
	cmd.Flags().StringVar(&listen, "listen", "", "speak it by HTTP at this address instead, like 127.0.0.1:4790")
	return cmd
}

// serveMCP serves clients by HTTP until ctx ends.
func (m *Main) serveMCP(ctx context.Context, listen string) error {
	where, err := m.credentials()
	if err != nil && !errors.Is(err, errNoKey) {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("%w (choose another address with --listen)", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/mcp", mcpHandler(where.URL))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	fmt.Fprintf(m.Stderr, "serving http://%s/mcp\n", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// mcpHandler lets agents use the daemon at url, each by the key that it sends.
// Every request stands for itself, so that none can use another's key.
func mcpHandler(url string) http.Handler {
	handler := mcp.NewStreamableHTTPHandler(func(r *http.Request) *mcp.Server {
		c, err := client.New(url, bearer(r))
		if err != nil {
			return nil
		}
		context.AfterFunc(r.Context(), c.Close)
		return newMCPServer(c)
	}, &mcp.StreamableHTTPOptions{Stateless: true})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if bearer(r) == "" {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "there is no API key; send it as Authorization: Bearer KEY", http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// bearer returns the API key that a request comes with; empty if there is none.
func bearer(r *http.Request) string {
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return key
}
