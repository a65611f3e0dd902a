// `stackbench bgp watch`: what a gobgpd knows and how it changes, for people and for pipes; and
// `stackbench bgp config`, the configuration file of a gobgpd that nodes connect to.
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "base/terminal.h"
#include "bgp-peer/client.h"
#include "bgp-peer/config.h"
#include "bgp-peer/table.h"
#include "stackbench/commands/command.h"
#include "stackbench/commands/outlet.h"
#include "stackbench/exit_code.h"

namespace stackbench {
namespace {

using base::Result;
using bgp_peer::Event;

// Home, and clear what is below: the table is painted over itself.
constexpr std::string_view repaint = "\x1b[H\x1b[J";
// To a screen of its own and back, so that what was on the terminal stays.
constexpr std::string_view enter_screen = "\x1b[?1049h\x1b[?25l";
constexpr std::string_view leave_screen = "\x1b[?25h\x1b[?1049l";
constexpr auto ages_grow = std::chrono::seconds(1);
constexpr auto least_between_paints = std::chrono::milliseconds(50);
constexpr auto between_listings = std::chrono::seconds(1);
// Text kept for a slow reader; then events wait where they are received, and are bounded there.
constexpr std::size_t most_text = 1 << 20;
constexpr auto last_patience = std::chrono::seconds(5);
constexpr auto interrupted_patience = std::chrono::milliseconds(200);

// What the daemon says only when asked (timers, counts, what is kept during a restart), asked at
// most once a second and on a thread of its own, so that one that does not answer stops nobody.
class Lister {
 public:
  struct Answer {
    base::MonotonicTime asked;
    std::optional<bgp_peer::Global> global;
    std::vector<bgp_peer::Peer> peers;
    std::optional<std::vector<bgp_peer::Path>> paths;  // only when they were wanted
  };

  static Result<std::unique_ptr<Lister>> start(const bgp_peer::Client& client) {
    base::UniqueFd ready(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!ready) return base::system_error(errno, "eventfd");
    return std::unique_ptr<Lister>(new Lister(client, std::move(ready)));
  }
  Lister(const Lister&) = delete;
  Lister& operator=(const Lister&) = delete;
  ~Lister() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  // Readable when there is an answer. Ownership stays here.
  [[nodiscard]] int fd() const { return ready_.get(); }
  // The last answer, once. `with_paths`: whether to ask for paths as well from now on, because some
  // may be kept during a restart.
  [[nodiscard]] std::optional<Answer> take(bool with_paths) {
    eventfd_t ignored = 0;
    ::eventfd_read(ready_.get(), &ignored);
    const std::lock_guard lock(mutex_);
    with_paths_ = with_paths;
    return std::exchange(answer_, std::nullopt);
  }

 private:
  Lister(const bgp_peer::Client& client, base::UniqueFd ready)
      : client_(client), ready_(std::move(ready)), thread_([this] { run(); }) {}

  Result<Answer> ask(bool with_paths) const {
    Answer answer{.asked = base::monotonic_now(), .global = {}, .peers = {}, .paths = {}};
    ASSIGN_OR_RETURN(answer.global, client_.global());
    ASSIGN_OR_RETURN(answer.peers, client_.peers());
    if (!with_paths) return answer;
    auto& all = answer.paths.emplace();
    for (const auto family : {bgp_peer::Family::ipv4_unicast, bgp_peer::Family::ipv6_unicast}) {
      ASSIGN_OR_RETURN(auto paths, client_.paths(family));
      std::ranges::move(paths, std::back_inserter(all));
    }
    return answer;
  }

  void run() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      const bool with_paths = with_paths_;
      lock.unlock();
      auto asked = ask(with_paths);
      lock.lock();
      // A failure is no answer, which is seen; the end of the daemon is the stream's to tell.
      if (asked) {
        answer_ = std::move(*asked);
        ::eventfd_write(ready_.get(), 1);
      }
      changed_.wait_for(lock, between_listings, [this] { return stopping_; });
    }
  }

  const bgp_peer::Client& client_;
  base::UniqueFd ready_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  bool with_paths_ = false;
  std::optional<Answer> answer_;
  std::thread thread_;  // last: it uses all of the above
};

// How a watch's events leave: as a table, as lines for people, or as lines of JSON.
class Output {
 public:
  Output(bgp_peer::WatchedTable table, bool json)
      : table_(std::move(table)), json_(json), terminal_(base::detect_terminal(STDOUT_FILENO)) {}

  [[nodiscard]] bool paints() const { return terminal_.interactive && !json_; }
  [[nodiscard]] bgp_peer::WatchedTable& table() { return table_; }
  // The text an event becomes; none where the table is painted.
  [[nodiscard]] std::string take(const Event& event) {
    const auto lines = table_.apply(event);
    std::string text;
    if (json_) {
      for (const auto& line : bgp_peer::event_lines(event)) text += base::dump_json(line) + "\n";
    } else if (!terminal_.interactive) {
      for (const auto& line : lines) {
        text += fmt::format("{} {}\n", bgp_peer::clock_time(event.received_realtime_ns), line);
      }
    }
    return text;
  }
  // The table, as wide and as tall as the terminal is now.
  [[nodiscard]] std::string frame() {
    terminal_ = base::detect_terminal(STDOUT_FILENO);
    winsize size{};
    const bool known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;
    return std::string(repaint) +
           table_.render(terminal_, base::monotonic_now(), known ? size.ws_row : 0);
  }
  // The table as it was last, to stay on the terminal.
  [[nodiscard]] std::string rendered() const {
    return table_.render(terminal_, base::monotonic_now());
  }

 private:
  bgp_peer::WatchedTable table_;
  bool json_;
  base::Terminal terminal_;
};

// When the table is painted: soon after a change, and every second as ages grow.
class Paints {
 public:
  void change() { changed_ = true; }
  [[nodiscard]] bool due(base::MonotonicTime now) const { return now >= next(); }
  void painted(base::MonotonicTime now) {
    last_ = now;
    changed_ = false;
  }
  [[nodiscard]] int wait_ms(base::MonotonicTime now) const {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next() - now).count();
    return static_cast<int>(std::max<std::int64_t>(left, 0));
  }

 private:
  [[nodiscard]] base::MonotonicTime next() const {
    return last_ + (changed_ ? base::Duration(least_between_paints) : base::Duration(ages_grow));
  }
  base::MonotonicTime last_ = {};
  bool changed_ = false;
};

// Until Ctrl-C, whose signal it returns, or until the daemon or the reader is gone.
Result<int> follow(Output& output, Outlet& outlet, const bgp_peer::EventQueue& queue,
                   Lister* lister, const base::Interrupt& interrupt) {
  Paints paints;
  for (;;) {
    const auto now = base::monotonic_now();
    // A terminal that does not take the last frame gets no other.
    if (output.paints() && outlet.waiting() == 0 && paints.due(now)) {
      outlet.add(output.frame());
      paints.painted(now);
    }
    RETURN_IF_ERROR(outlet.push());
    const bool takes = outlet.waiting() < most_text;
    std::array<pollfd, 4> watched{
        {{.fd = interrupt.fd(), .events = POLLIN, .revents = 0},
         {.fd = takes ? queue.fd() : -1, .events = POLLIN, .revents = 0},
         outlet.watched(),
         {.fd = lister != nullptr ? lister->fd() : -1, .events = POLLIN, .revents = 0}}};
    // A frame that waits is waited for by the outlet's own descriptor.
    const int wait_ms = !output.paints() ? -1 : outlet.waiting() > 0 ? 1000 : paints.wait_ms(now);
    if (::poll(watched.data(), watched.size(), wait_ms) < 0 && errno != EINTR) {
      return base::system_error(errno, "poll");
    }
    if (interrupt.requested()) return interrupt.signal();
    if (lister != nullptr && watched[3].revents != 0) {
      if (const auto answer = lister->take(output.table().may_be_stale())) {
        output.table().set_answered(base::monotonic_now());
        output.table().set_global(answer->global);
        output.table().refresh(answer->peers, answer->asked);
        if (answer->paths) output.table().refresh_stale(*answer->paths);
        paints.change();
      }
    }
    if (!takes) continue;
    for (const auto& event : queue.take()) {
      outlet.add(output.take(event));
      paints.change();
      if (event.kind == Event::Kind::ended) return std::unexpected(event.error);
    }
  }
}

Action declare_bgp_watch(CLI::App& app) {
  struct Arguments {
    std::string address;
    bool json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  app.add_option("address", arguments->address,
                 "Where gobgpd's API listens: HOST[:PORT] or unix:PATH")
      ->required()
      ->type_name("ADDRESS");
  app.add_flag("--json", arguments->json, "Print every event as lines of JSON");
  return [arguments](const Context& context) -> Result<int> {
    ASSIGN_OR_RETURN(const auto client,
                     bgp_peer::Client::connect(arguments->address, std::chrono::seconds(5),
                                               context.interrupt.fd()));
    ASSIGN_OR_RETURN(auto global, client.global());
    Output output({client.address(), std::move(global)}, arguments->json);
    Outlet outlet(STDOUT_FILENO);
    ASSIGN_OR_RETURN(const auto queue, bgp_peer::EventQueue::make());
    ASSIGN_OR_RETURN(const auto watch, client.watch({}, queue.handler()));
    std::unique_ptr<Lister> lister;
    if (output.paints()) {
      ASSIGN_OR_RETURN(lister, Lister::start(client));
      output.table().set_answered(base::monotonic_now());
      outlet.add(enter_screen);
    }
    const auto outcome = follow(output, outlet, queue, lister.get(), context.interrupt);
    // However it ended, the terminal is given back, with the table as it was last.
    if (output.paints()) outlet.add(std::string(leave_screen) + output.rendered());
    const auto left = outcome ? outlet.finish(interrupted_patience)
                              : outlet.finish(last_patience, context.interrupt.fd());
    RETURN_IF_ERROR(outcome);
    RETURN_IF_ERROR(left);
    return exit_signal + *outcome;
  };
}

// The values of an option that were given as text, each parsed.
template <typename T>
Result<std::vector<T>> parsed(const std::vector<std::string>& words) {
  std::vector<T> all;
  for (const auto& word : words) {
    ASSIGN_OR_RETURN(auto value, T::parse(word));
    all.push_back(std::move(value));
  }
  return all;
}

Action declare_bgp_config(CLI::App& app) {
  struct Arguments {
    std::uint32_t asn = 0;
    std::string router_id;
    bgp_peer::SessionSpec session = {};
    std::vector<std::string> networks;
    std::vector<std::string> communities;
    std::uint32_t restart_time_s = 0;
    bool ipv6 = false;
  };
  auto arguments = std::make_shared<Arguments>();
  app.add_option("--asn", arguments->asn, "The peer's own autonomous system")->required();
  app.add_option("--router-id", arguments->router_id, "The peer's router ID, an IPv4 address")
      ->required();
  app.add_option("--from", arguments->networks, "A network whose addresses may connect: the nodes'")
      ->required()
      ->type_name("PREFIX")
      ->allow_extra_args(false);
  app.add_option("--node-asn", arguments->session.peer_asn.number, "The nodes' autonomous system")
      ->required();
  app.add_option("--hold-time", arguments->session.hold_time_s, "Hold time, seconds")
      ->capture_default_str();
  app.add_option("--restart-time", arguments->restart_time_s,
                 "Graceful restart, for so many seconds; off unless given");
  app.add_option("--max-prefixes", arguments->session.max_prefixes,
                 "End a session beyond so many prefixes of a family; 0: no limit");
  app.add_option("--community", arguments->communities, "A community added to what it announces")
      ->type_name("N:N")
      ->allow_extra_args(false);
  app.add_flag("--ipv6", arguments->ipv6, "IPv6 routes as well as IPv4's");
  return [arguments](const Context&) -> Result<int> {
    bgp_peer::DaemonSpec spec{.global = {.asn = {arguments->asn}, .multipath = true}};
    ASSIGN_OR_RETURN(spec.global.router_id, base::IpAddress::parse(arguments->router_id));
    ASSIGN_OR_RETURN(spec.communities, parsed<bgp_peer::Community>(arguments->communities));
    auto session = arguments->session;
    if (arguments->restart_time_s > 0) session.restart_time_s = arguments->restart_time_s;
    if (arguments->ipv6) session.families.push_back(bgp_peer::Family::ipv6_unicast);
    ASSIGN_OR_RETURN(auto networks, parsed<bgp_peer::Prefix>(arguments->networks));
    spec.dynamic_neighbors = {
        {.name = "nodes", .networks = std::move(networks), .session = std::move(session)}};
    RETURN_IF_ERROR(bgp_peer::check(spec));
    return print(base::dump_json_pretty(bgp_peer::configuration(spec)) + "\n");
  };
}

}  // namespace

Action declare_bgp(CLI::App& app) {
  app.require_subcommand(1);
  auto* watch = app.add_subcommand(
      "watch", "Show a gobgpd's sessions and routes as they change, until Ctrl-C");
  auto* config =
      app.add_subcommand("config", "Print the configuration of a gobgpd that nodes connect to");
  return [config, watches = declare_bgp_watch(*watch),
          configures = declare_bgp_config(*config)](const Context& context) {
    return config->parsed() ? configures(context) : watches(context);
  };
}

}  // namespace stackbench
