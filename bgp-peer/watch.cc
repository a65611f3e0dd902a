// Streams of events: received and stamped on one thread, handled on another.
#include <condition_variable>
#include <deque>
#include <mutex>

#include <poll.h>
#include <sys/eventfd.h>

#include "bgp-peer/client.h"
#include "bgp-peer/connection.h"
#include "bgp-peer/messages.h"

namespace bgp_peer {
namespace {

using base::ErrorKind;
using base::Result;

std::int64_t realtime_now() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

void stamp(Event& event, base::MonotonicTime received, std::int64_t realtime) {
  event.received = received;
  event.received_realtime_ns = realtime;
}

bool is_readable(int fd) {
  pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
  return fd >= 0 && ::poll(&one, 1, 0) == 1;
}

// Events between two threads, so that who receives never waits for who handles, up to a limit.
class Backlog {
 public:
  explicit Backlog(std::size_t limit) : limit_(limit) {}

  // Whether more may come: not after `ended`, which an event that does not fit becomes.
  bool put(Event event) {
    const std::lock_guard lock(mutex_);
    if (closed_) return false;
    const auto weight = 1 + event.paths.size();
    if (!events_.empty() && weight_ + weight > limit_ && event.kind != Event::Kind::ended) {
      Event last{.kind = Event::Kind::ended};
      stamp(last, event.received, event.received_realtime_ns);
      last.error = {.kind = ErrorKind::system,
                    .message = fmt::format("more than {} sessions and routes wait to be taken: "
                                           "gobgpd tells faster than they are read",
                                           limit_),
                    .mend = "Read faster, or into a file."};
      event = std::move(last);
    }
    weight_ += weight;
    closed_ = event.kind == Event::Kind::ended;
    events_.push_back(std::move(event));
    changed_.notify_all();
    return !closed_;
  }
  // Waits for the next ones, at most so many; none after drop().
  std::vector<Event> next(std::size_t most) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return dropped_ || !events_.empty(); });
    std::vector<Event> taken;
    while (!dropped_ && !events_.empty() && taken.size() < most) {
      taken.push_back(std::move(events_.front()));
      events_.pop_front();
      weight_ -= std::min(weight_, 1 + taken.back().paths.size());
    }
    return taken;
  }
  std::vector<Event> all() {
    const std::lock_guard lock(mutex_);
    std::vector<Event> taken(std::make_move_iterator(events_.begin()),
                             std::make_move_iterator(events_.end()));
    events_.clear();
    weight_ = 0;
    return taken;
  }
  // Forgets what waits, and what comes.
  void drop() {
    const std::lock_guard lock(mutex_);
    dropped_ = closed_ = true;
    changed_.notify_all();
  }

 private:
  const std::size_t limit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Event> events_;
  std::size_t weight_ = 0;  // of those that wait
  bool closed_ = false;
  bool dropped_ = false;
};

}  // namespace

struct Watch::State {
  explicit State(std::size_t limit) : backlog(limit) {}

  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<apipb::WatchEventResponse>> reader;
  std::string address;
  std::function<void(std::vector<Event>)> handler;
  std::size_t most_at_once = 1;    // that the handler is given
  bool peers = true;               // whether the handler wants them
  bool begins_with_paths = false;  // the first message of paths is all there were, be it none
  Backlog backlog;
  base::UniqueFd begun;  // an eventfd: the daemon has told every peer, or all is over
  base::Error error;     // why it was over before it began
  std::thread receiving;
  std::thread handling;

  // Receives and stamps, and does nothing that takes long.
  void receive() {
    apipb::WatchEventResponse message;
    Result<> outcome;
    bool taken = true;
    bool told = false;
    while (outcome && taken && reader->Read(&message)) {
      const auto received = base::monotonic_now();
      const auto realtime = realtime_now();
      auto event = from_message(message);
      if (!event) {
        outcome = std::unexpected(std::move(event).error());
      } else if (*event) {
        const auto kind = (*event)->kind;
        (*event)->initial |= message.has_table() && begins_with_paths;
        stamp(**event, received, realtime);
        if (peers || kind == Event::Kind::paths) taken = backlog.put(std::move(**event));
        if (kind == Event::Kind::peers_told && !told) {
          told = true;
          ::eventfd_write(begun.get(), 1);
        }
      }
      if (message.has_table()) begins_with_paths = false;
    }
    Event last{.kind = Event::Kind::ended};
    stamp(last, base::monotonic_now(), realtime_now());
    if (!outcome || !taken) context.TryCancel();
    const auto status = reader->Finish();
    if (!outcome) {
      last.error = std::move(outcome).error();
    } else if (status.ok()) {
      last.error = {.kind = ErrorKind::peer_lost, .message = address + ": gobgpd ended the stream"};
    } else {
      last.error = error_of(status, address, true);
    }
    if (!told) {
      error = last.error;
      ::eventfd_write(begun.get(), 2);
    }
    backlog.put(std::move(last));
  }

  void handle() {
    for (bool last = false; !last;) {
      auto events = backlog.next(most_at_once);
      if (events.empty()) return;
      last = events.back().kind == Event::Kind::ended;
      handler(std::move(events));
    }
  }

  // Until the daemon has told every peer: it registers who watches before it does so.
  [[nodiscard]] Result<> wait_until_begun(base::Duration patience, int interrupt_fd) const {
    const auto until = base::monotonic_now() + patience;
    std::array<pollfd, 2> watched{{{.fd = begun.get(), .events = POLLIN, .revents = 0},
                                   {.fd = interrupt_fd, .events = POLLIN, .revents = 0}}};
    for (;;) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(until - base::monotonic_now());
      if (::poll(watched.data(), watched.size(), std::max(0, static_cast<int>(left.count()))) < 0 &&
          errno != EINTR) {
        return base::system_error(errno, "poll");
      }
      if (is_readable(begun.get())) break;
      if (is_readable(interrupt_fd)) {
        return std::unexpected(error_of(grpc::Status::CANCELLED, address, true));
      }
      if (left.count() <= 0) {
        return std::unexpected(error_of({grpc::StatusCode::DEADLINE_EXCEEDED, ""}, address, true));
      }
    }
    eventfd_t how = 0;
    ::eventfd_read(begun.get(), &how);
    if (how > 1) return std::unexpected(error);
    return {};
  }
};

Watch::Watch(std::unique_ptr<State> state) : state_(std::move(state)) {}
Watch::Watch(Watch&&) noexcept = default;
Watch::~Watch() {
  if (!state_) return;
  state_->backlog.drop();
  state_->context.TryCancel();
  state_->receiving.join();
  state_->handling.join();
}

Result<Watch> Client::watch(const WatchOptions& options, std::function<void(Event)> handler) const {
  return begin(options, 1, [handler = std::move(handler)](std::vector<Event> events) {
    for (auto& event : events) handler(std::move(event));
  });
}

Result<Watch> Client::watch_all(const WatchOptions& options,
                                std::function<void(std::vector<Event>)> handler) const {
  return begin(options, options.most_waiting, std::move(handler));
}

Result<Watch> Client::begin(const WatchOptions& options, std::size_t most_at_once,
                            std::function<void(std::vector<Event>)> handler) const {
  if (!options.peers && !options.paths) {
    return base::fail(ErrorKind::input, "a watch of neither peers nor paths tells nothing");
  }
  // A daemon whose BGP has not been started does not begin with paths.
  ASSIGN_OR_RETURN(const auto running, global());
  using Filter = apipb::WatchEventRequest::Table::Filter;
  apipb::WatchEventRequest request;
  // Always: that all have been told is how we know that it has begun.
  request.mutable_peer();
  if (options.paths) {
    auto* filter = request.mutable_table()->add_filters();
    filter->set_type(options.as_received ? Filter::ADJIN : Filter::BEST);
    filter->set_init(true);
  }
  auto state = std::make_unique<Watch::State>(options.most_waiting);
  state->begun.reset(::eventfd(0, EFD_CLOEXEC));
  if (!state->begun) return base::system_error(errno, "eventfd");
  state->address = state_->address;
  state->handler = std::move(handler);
  state->most_at_once = most_at_once;
  state->peers = options.peers;
  state->begins_with_paths = running.has_value() && !options.as_received;
  state->reader = state_->stub->WatchEvent(&state->context, request);
  auto* shared = state.get();
  state->receiving = std::thread([shared] { shared->receive(); });
  state->handling = std::thread([shared] { shared->handle(); });
  Watch watch(std::move(state));
  RETURN_IF_ERROR(shared->wait_until_begun(state_->deadline, state_->interrupt_fd));
  return watch;
}

struct EventQueue::State {
  explicit State(std::size_t limit) : waiting(limit) {}
  base::UniqueFd ready;
  Backlog waiting;
};

Result<EventQueue> EventQueue::make(std::size_t limit) {
  auto state = std::make_shared<State>(limit);
  state->ready.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!state->ready) return base::system_error(errno, "eventfd");
  return EventQueue(std::move(state));
}

std::function<void(Event)> EventQueue::handler() const {
  return [state = state_](Event event) {
    (void)state->waiting.put(std::move(event));
    ::eventfd_write(state->ready.get(), 1);
  };
}

int EventQueue::fd() const { return state_->ready.get(); }

std::vector<Event> EventQueue::take() const {
  eventfd_t ignored = 0;
  ::eventfd_read(state_->ready.get(), &ignored);
  return state_->waiting.all();
}

}  // namespace bgp_peer
