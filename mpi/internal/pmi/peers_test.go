package pmi

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// find skips the test if a program of MPICH is not installed.
func find(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not installed", program)
	}
	return path
}

// rankUnderHydra is what the test binary does as a rank of a real launcher.
func rankUnderHydra() int {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, found, err := FromEnv()
	if err != nil || !found {
		fmt.Println("FromEnv:", found, err)
		return 1
	}
	if err := talk(ctx, c); err != nil {
		fmt.Println(err)
		return 1
	}
	if os.Getenv("PMI_TEST_RANK") == "abort" {
		if c.Rank == 1 {
			c.Abort(7)
		}
		<-c.Done() // the launcher ends us
		return 1
	}
	if err := c.Finalize(ctx); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Printf("rank %d of %d\n", c.Rank, c.Size)
	return 0
}

// talk uses every request but the last.
func talk(ctx context.Context, c *Client) error {
	if err := c.PutBytes(ctx, fmt.Sprintf("addr-%d", c.Rank), []byte{byte(c.Rank), 0, 0xff}); err != nil {
		return err
	}
	if err := c.Barrier(ctx); err != nil {
		return err
	}
	for peer := range c.Size {
		b, err := c.GetBytes(ctx, fmt.Sprintf("addr-%d", peer))
		if err != nil || !bytes.Equal(b, []byte{byte(peer), 0, 0xff}) {
			return fmt.Errorf("address of %d: %v, %w", peer, b, err)
		}
	}
	if _, err := c.Get(ctx, "nobody"); err == nil {
		return fmt.Errorf("a key that nobody has put was found")
	}
	if nodes, err := c.Nodes(ctx); err != nil || len(nodes) != c.Size {
		return fmt.Errorf("nodes: %v, %w", nodes, err)
	}
	if _, err := c.UniverseSize(ctx); err != nil {
		return err
	}
	_, err := c.AppNum(ctx)
	return err
}

func TestClientUnderHydra(t *testing.T) {
	hydra := find(t, "mpiexec.hydra")
	tests := []struct {
		name  string
		flags []string
		role  string
		code  int
		out   []string
	}{
		{"file descriptor", nil, "1", 0, []string{"rank 0 of 3", "rank 1 of 3", "rank 2 of 3"}},
		{"port", []string{"-pmi-port"}, "1", 0, []string{"rank 0 of 3", "rank 1 of 3", "rank 2 of 3"}},
		{"abort", nil, "abort", 7, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.CommandContext(testContext(t), hydra, append(test.flags, "-n", "3", os.Args[0])...)
			cmd.Env = append(os.Environ(), "PMI_TEST_RANK="+test.role)
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != test.code {
				t.Errorf("exit code %d, want %d; output:\n%s", code, test.code, out)
			}
			for _, want := range test.out {
				if !strings.Contains(string(out), want+"\n") {
					t.Errorf("no %q in the output:\n%s", want, out)
				}
			}
		})
	}
}

const mpichProgram = `
#include <mpi.h>
#include <stdio.h>
int main(int argc, char **argv) {
  int rank, size, sum;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  printf("%d of %d: %d\n", rank, size, sum);
  MPI_Finalize();
  return 0;
}
`

// Real MPICH processes find each other through our server.
func TestServerWithMPICH(t *testing.T) {
	mpicc := find(t, "mpicc.mpich")
	dir := t.TempDir()
	source, program := filepath.Join(dir, "sum.c"), filepath.Join(dir, "sum")
	if err := os.WriteFile(source, []byte(mpichProgram), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mpicc, "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("mpicc: %v\n%s", err, out)
	}
	const ranks = 3
	j := newJob(t, ranks)
	var outs [ranks]bytes.Buffer
	var cmds [ranks]*exec.Cmd
	for rank := range ranks {
		cmd := exec.CommandContext(testContext(t), program)
		cmd.Env = append(os.Environ(), "PMI_FD=3", fmt.Sprint("PMI_RANK=", rank), fmt.Sprint("PMI_SIZE=", ranks))
		cmd.ExtraFiles = []*os.File{j.files[rank]}
		cmd.Stdout, cmd.Stderr = &outs[rank], &outs[rank]
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		j.files[rank].Close()
		cmds[rank] = cmd
	}
	for rank, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("rank %d: %v", rank, err)
		}
		if want := fmt.Sprintf("%d of %d: 3\n", rank, ranks); outs[rank].String() != want {
			t.Errorf("rank %d printed %q, want %q", rank, outs[rank].String(), want)
		}
		if p := j.Phase(rank); p != Finalized {
			t.Errorf("rank %d is in phase %d", rank, p)
		}
	}
}
