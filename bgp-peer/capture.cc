#include "bgp-peer/capture.h"

#include <atomic>
#include <map>
#include <thread>

#include <pcap/pcap.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>

#include "base/fd.h"
#include "base/packet.h"

namespace bgp_peer {
namespace {

using base::ErrorKind;
using base::Result;

struct CloseHandle {
  void operator()(pcap_t* handle) const { pcap_close(handle); }
};
struct CloseDump {
  void operator()(pcap_dumper_t* dump) const { pcap_dump_close(dump); }
};
using Handle = std::unique_ptr<pcap_t, CloseHandle>;
using Dump = std::unique_ptr<pcap_dumper_t, CloseDump>;

std::unexpected<base::Error> capture_error(pcap_t* handle, int code, const std::string& interface) {
  const auto kind = code == PCAP_ERROR_PERM_DENIED      ? ErrorKind::not_permitted
                    : code == PCAP_ERROR_NO_SUCH_DEVICE ? ErrorKind::missing
                                                        : ErrorKind::system;
  const std::string words = handle != nullptr ? pcap_geterr(handle) : "";
  return base::fail(kind, "capture on {}: {}", interface,
                    words.empty() ? pcap_statustostr(code) : words);
}

// How long the kernel gathers packets before it hands them over. In immediate mode each would have
// a slot as large as the largest, of which the buffer holds 32: a thousand prefixes at once are
// more. Packets' times are the kernel's and do not suffer.
constexpr int gather_ms = 5;
constexpr int buffer_bytes = 16 << 20;

Result<Handle> open_here(const std::string& interface) {
  std::array<char, PCAP_ERRBUF_SIZE> words{};
  Handle handle(pcap_create(interface.c_str(), words.data()));
  if (!handle) return base::fail(ErrorKind::system, "capture on {}: {}", interface, words.data());
  constexpr int longest_packet = 65535 + 65;  // of IP, and its link's header
  pcap_set_snaplen(handle.get(), longest_packet);
  pcap_set_timeout(handle.get(), gather_ms);
  pcap_set_buffer_size(handle.get(), buffer_bytes);
  pcap_set_tstamp_precision(handle.get(), PCAP_TSTAMP_PRECISION_NANO);
  if (const int code = pcap_activate(handle.get()); code < 0) {
    return capture_error(handle.get(), code, interface);
  }
  bpf_program filter{};
  if (pcap_compile(handle.get(), &filter, "tcp port 179", 1, PCAP_NETMASK_UNKNOWN) != 0) {
    return capture_error(handle.get(), PCAP_ERROR, interface);
  }
  const int code = pcap_setfilter(handle.get(), &filter);
  pcap_freecode(&filter);
  if (code != 0 || pcap_setnonblock(handle.get(), 1, words.data()) != 0) {
    return capture_error(handle.get(), PCAP_ERROR, interface);
  }
  return handle;
}

}  // namespace

struct Capture::State {
  Handle handle;
  Dump dump;
  base::UniqueFd end;
  std::function<void(const CapturedUpdate&)> handler;
  std::function<void(const CapturedSegment&)> on_segment;
  std::map<std::pair<base::Endpoint, base::Endpoint>, MessageStream> streams;
  std::atomic<bool> broken = false;  // it sees nothing any more, as its interface is gone
  std::thread thread;

  void take(const pcap_pkthdr& header, const std::uint8_t* bytes) {
    if (dump) pcap_dump(reinterpret_cast<u_char*>(dump.get()), &header, bytes);
    const auto segment = base::read_segment({bytes, header.caplen});
    if (!segment) return;
    // With nanosecond precision tv_usec holds nanoseconds.
    const auto real =
        static_cast<std::int64_t>(header.ts.tv_sec) * 1'000'000'000 + header.ts.tv_usec;
    const base::MonotonicTime passed{real - base::realtime_ahead()};
    auto& stream = streams[{segment->source, segment->destination}];
    // A new connection counts its bytes anew.
    const auto has = [&](std::uint8_t flag) { return (segment->flags & flag) != 0; };
    if (has(base::tcp_syn)) stream = {};
    CapturedSegment told{.from = segment->source,
                         .to = segment->destination,
                         .syn = has(base::tcp_syn),
                         .ack = has(base::tcp_ack),
                         .fin = has(base::tcp_fin),
                         .rst = has(base::tcp_rst),
                         .passed = passed};
    for (auto& message : stream.messages(segment->sequence, segment->payload)) {
      told.messages.push_back(message.type);
      if (message.open) told.open = message.open;
      if (message.notification) told.notification = message.notification;
      if (!message.update) continue;
      handler({.update = std::move(*message.update),
               .from = segment->source.address,
               .to = segment->destination.address,
               .passed = passed});
    }
    if (on_segment) on_segment(told);
  }

  void run() {
    std::array<pollfd, 2> watched{
        {{.fd = pcap_get_selectable_fd(handle.get()), .events = POLLIN, .revents = 0},
         {.fd = end.get(), .events = POLLIN, .revents = 0}}};
    while (::poll(watched.data(), watched.size(), -1) >= 0 || errno == EINTR) {
      const bool last = watched[1].revents != 0;
      // So that what had come, and is being gathered, is in the file.
      if (last) ::poll(watched.data(), 1, 4 * gather_ms);
      pcap_pkthdr* header = nullptr;
      const u_char* bytes = nullptr;
      int code = 0;
      while ((code = pcap_next_ex(handle.get(), &header, &bytes)) == 1) take(*header, bytes);
      if (code < 0) broken = true;
      if (last || broken) return;
    }
  }
};

Capture::Capture(std::unique_ptr<State> state) : state_(std::move(state)) {}
Capture::Capture(Capture&&) noexcept = default;
Capture::~Capture() {
  if (!state_) return;
  ::eventfd_write(state_->end.get(), 1);
  state_->thread.join();
}

Result<Capture> Capture::start(const Options& options,
                               std::function<void(const CapturedUpdate&)> handler) {
  auto state = std::make_unique<State>();
  Result<> outcome;
  // Its socket stays where it is opened.
  std::thread([&] {
    if (::setns(options.netns, CLONE_NEWNET) < 0) {
      outcome = base::system_error(errno, "setns into the network namespace to capture in");
      return;
    }
    auto handle = open_here(options.interface);
    if (handle) {
      state->handle = std::move(*handle);
    } else {
      outcome = std::unexpected(std::move(handle).error());
    }
  }).join();
  RETURN_IF_ERROR(outcome);
  if (!options.file.empty()) {
    state->dump.reset(pcap_dump_open(state->handle.get(), options.file.c_str()));
    if (!state->dump) return capture_error(state->handle.get(), PCAP_ERROR, options.interface);
  }
  state->end.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!state->end) return base::system_error(errno, "eventfd");
  state->handler = std::move(handler);
  state->on_segment = options.on_segment;
  auto* shared = state.get();
  state->thread = std::thread([shared] { shared->run(); });
  return Capture(std::move(state));
}

Result<unsigned> Capture::dropped() const {
  if (state_->broken)
    return base::fail(ErrorKind::system, "a capture of a session's link broke off");
  pcap_stat counts{};
  if (pcap_stats(state_->handle.get(), &counts) != 0) {
    return capture_error(state_->handle.get(), PCAP_ERROR, "a session's link");
  }
  return counts.ps_drop;
}

}  // namespace bgp_peer
