#include "cluster/processes/relay.h"

#include <array>
#include <thread>
#include <tuple>
#include <utility>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>

namespace cluster::processes {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

// After an accept that failed (no descriptor left): until one may be free again.
constexpr auto accept_pause = std::chrono::milliseconds(100);

// Two sockets joined. Each direction ends by itself, so that a peer that has only closed its
// sending side still gets its answer; an error ends both.
class Joined : public std::enable_shared_from_this<Joined> {
 public:
  Joined(tcp::socket client, asio::io_context& context)
      : client_(std::move(client)), server_(context) {}

  void start(const tcp::endpoint& server) {
    server_.async_connect(server, [self = shared_from_this()](error_code error) {
      if (error) return;  // the client's connection closes with the last owner of this
      error_code ignored;
      for (auto* socket : {&self->client_, &self->server_}) {
        std::ignore = socket->set_option(tcp::no_delay(true), ignored);
      }
      self->pump(self->client_, self->server_, self->up_);
      self->pump(self->server_, self->client_, self->down_);
    });
  }

 private:
  using Buffer = std::array<char, 32768>;

  void pump(tcp::socket& from, tcp::socket& to, Buffer& buffer) {
    from.async_read_some(asio::buffer(buffer), [this, self = shared_from_this(), &from, &to,
                                                &buffer](error_code error, std::size_t count) {
      if (error == asio::error::eof) {
        error_code ignored;
        std::ignore = to.shutdown(tcp::socket::shutdown_send, ignored);
        return;
      }
      if (error) return close();
      asio::async_write(to, asio::buffer(buffer, count),
                        [this, self, &from, &to, &buffer](error_code failed, std::size_t) {
                          if (failed) return close();
                          pump(from, to, buffer);
                        });
    });
  }

  void close() {
    error_code ignored;
    std::ignore = client_.close(ignored);
    std::ignore = server_.close(ignored);
  }

  tcp::socket client_;
  tcp::socket server_;
  Buffer up_{};
  Buffer down_{};
};

}  // namespace

struct Relay::Work {
  asio::io_context context{1};
  tcp::acceptor acceptor{context};
  asio::steady_timer pause{context};
  tcp::endpoint server;
  std::thread thread;

  void accept() {
    acceptor.async_accept([this](error_code error, tcp::socket client) {
      if (error == asio::error::operation_aborted) return;
      if (error) {
        pause.expires_after(accept_pause);
        pause.async_wait([this](error_code stopped) {
          if (!stopped) accept();
        });
        return;
      }
      std::make_shared<Joined>(std::move(client), context)->start(server);
      accept();
    });
  }
};

Relay::Relay() : work_(std::make_unique<Work>()) {}

base::Result<std::unique_ptr<Relay>> Relay::start(const base::Endpoint& server, Inside inside) {
  std::unique_ptr<Relay> relay(new Relay());
  auto& work = *relay->work_;
  error_code error;
  work.server = {asio::ip::make_address(server.address.to_string(), error), server.port};
  const tcp::endpoint loopback(asio::ip::address_v4::loopback(), 0);
  // The socket stays in the network namespace it was made in, whichever thread accepts on it.
  if (!error) std::ignore = work.acceptor.open(loopback.protocol(), error);
  if (!error) std::ignore = work.acceptor.bind(loopback, error);
  if (!error) std::ignore = work.acceptor.listen(tcp::acceptor::max_listen_connections, error);
  if (error) return base::fail(base::ErrorKind::system, "relay: {}", error.message());
  relay->port_ = work.acceptor.local_endpoint().port();
  work.accept();
  work.thread = std::thread([&work, inside = std::move(inside)] {
    // Sockets to the server are made by the thread that runs the context.
    std::ignore = inside([&work]() -> base::Result<> {
      work.context.run();
      return {};
    });
  });
  return relay;
}

Relay::~Relay() {
  work_->context.stop();
  if (work_->thread.joinable()) work_->thread.join();
}

}  // namespace cluster::processes
