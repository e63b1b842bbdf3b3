/* The plain channel: one recv(2) into memory that grows with what arrives, and one send(2). */
#include "net/channel.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_struct.h>
#include <event2/event.h>
#include <limits.h>
#include <sys/socket.h>
#include <unistd.h>

int channel_open(struct channel *channel, struct event_base *base, int fd,
    const struct channel_callbacks *callbacks, void *arg)
{
	struct bufferevent *bev = bufferevent_socket_new(base, fd, 0);
	struct evbuffer *output = evbuffer_new();

	if (bev == NULL || output == NULL) {
		if (output != NULL)
			evbuffer_free(output);
		if (bev != NULL)
			bufferevent_free(bev);
		return -1;
	}
	/* An addition to libevent's output would enable EV_WRITE. The flag permits sendfile(2). */
	evbuffer_free(bev->output);
	bev->output = output;
	evbuffer_set_flags(output, EVBUFFER_FLAG_DRAINS_TO_FD);
	*channel = (struct channel){
		.ops = &channel_plain, .bev = bev, .piece = SSIZE_MAX, .fd = fd, .established = true
	};
	bufferevent_setcb(bev, callbacks->again, NULL, NULL, arg);
	bufferevent_disable(bev, EV_READ | EV_WRITE); /* EV_WRITE is enabled by default */
	/* These replace libevent's events, whose finalizer needs the bufferevent as argument. */
	event_assign(
	    &bev->ev_read, base, fd, EV_READ | EV_PERSIST | EV_FINALIZE, callbacks->readable, bev);
	event_assign(&bev->ev_write, base, fd, EV_WRITE | EV_PERSIST | EV_FINALIZE,
	    callbacks->writable, bev);
	/* libevent freezes it, so that only its own reader can add bytes. */
	evbuffer_unfreeze(bufferevent_get_input(bev), 0);
	return 0;
}

int channel_poll(struct channel *channel, bool reading, bool writing)
{
	struct event *readable = &channel->bev->ev_read, *writable = &channel->bev->ev_write;

	if (reading != channel->reading &&
	    (reading ? event_add(readable, NULL) : event_del(readable)) == -1)
		return -1;
	channel->reading = reading;
	if (writing != channel->writing &&
	    (writing ? event_add(writable, NULL) : event_del(writable)) == -1)
		return -1;
	channel->writing = writing;
	return 0;
}

void channel_again(struct channel *channel)
{
	bufferevent_trigger(
	    channel->bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
}

static ssize_t plain_receive(struct channel *channel)
{
	size_t size = channel->large_read ? CHANNEL_READ_LARGE : CHANNEL_READ_SMALL;
	struct evbuffer *in = bufferevent_get_input(channel->bev);
	struct evbuffer_iovec space;
	ssize_t n;

	channel->fetched = 0;
	if (evbuffer_reserve_space(in, (ev_ssize_t)size, &space, 1) != 1) {
		errno = ENOMEM;
		return -1;
	}
	n = recv(channel->fd, space.iov_base, size, MSG_DONTWAIT);
	space.iov_len = channel->fetched = n > 0 ? (size_t)n : 0;
	evbuffer_commit_space(in, &space, 1);
	channel->large_read = n >= CHANNEL_READ_SMALL;
	channel->eof = n == 0;
	return n;
}

static ssize_t plain_send(struct channel *channel, size_t most)
{
	struct evbuffer *out = bufferevent_get_output(channel->bev);
	struct evbuffer_iovec extent[2];
	size_t length;
	ssize_t n;

	if (channel->sends_files || evbuffer_peek(out, -1, NULL, extent, 2) != 1) {
		errno = 0;
		n = evbuffer_write_atmost(out, channel->fd, (ev_ssize_t)most);
		/* For a file it returns 0 also when the socket takes nothing now. */
		return n == 0 && (errno == EAGAIN || errno == EINTR) ? -1 : n;
	}
	/* One piece of memory, the usual case: send(2) costs less than writev(2). */
	length = extent[0].iov_len < most ? extent[0].iov_len : most;
	n = send(channel->fd, extent[0].iov_base, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0)
		evbuffer_drain(out, (size_t)n);
	return n;
}

static bool plain_finish(struct channel *channel)
{
	shutdown(channel->fd, SHUT_WR);
	return true;
}

static void plain_close(struct channel *channel)
{
	/* Out of epoll first: the descriptor is closed here and now, not on a later pass (#712). */
	event_del(&channel->bev->ev_read);
	event_del(&channel->bev->ev_write);
	bufferevent_free(channel->bev);
	close(channel->fd);
}

const struct channel_ops channel_plain = {
	.receive = plain_receive,
	.send = plain_send,
	.finish = plain_finish,
	.close = plain_close,
};
