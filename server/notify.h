/* SPDX-License-Identifier: Apache-2.0 */
/* Messages to the service manager (sd_notify(3)): a datagram to the socket that $NOTIFY_SOCKET names. Without one they go
 * nowhere. */
#ifndef H5PT_SERVER_NOTIFY_H
#define H5PT_SERVER_NOTIFY_H

#include <stdint.h>

/* "READY=1", "STOPPING=1", "WATCHDOG=1", … */
void notify_send(const char *message);

/* The time between two WATCHDOG=1 that the manager asks for with $WATCHDOG_USEC, halved to be early; 0: it asks for none. */
int64_t notify_watchdog_ms(void);

#endif
