package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// TestTrace traces a run with one message each way to warm up and two that count. The file has the set-up of the connection, the
// messages and its end.
func TestTrace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pingpong.pcapng")
	if err := (config{trace: path, size: 64, iters: 2}).run(io.Discard); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := pcapgo.NewNgReader(file, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	if r.LinkType() != layers.LinkTypeEthernet {
		t.Errorf("link type %v, want Ethernet", r.LinkType())
	}
	const (
		opcode = 14 + 40 + 8 // behind the headers of Ethernet, IPv6 and UDP
		send   = 0x04        // RC SEND Only
		ack    = 0x11
		ud     = 0x64 // UD SEND Only
	)
	count := map[byte]int{}
	for {
		p, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if len(p) <= opcode {
			t.Fatalf("frame of %d bytes", len(p))
		}
		count[p[opcode]]++
	}
	if count[send] < 6 || count[ack] < 1 || count[ud] < 4 { // a late acknowledgement lets a message come again
		t.Errorf("%v packets by opcode: want 6 SENDs, their acknowledgements, and REQ, REP, RTU and DREQ", count)
	}

	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed: Wireshark's view is not checked")
	}
	out, err := exec.Command(tshark, "-n", "-r", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CM: ConnectRequest", "CM: ReadyToUse", "RC Send Only", "RC Acknowledge", "CM: DisconnectRequest"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "RPC") || strings.Contains(string(out), "alformed") {
		t.Errorf("a packet is taken for something else:\n%s", out)
	}
}
