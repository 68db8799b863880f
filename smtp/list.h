#ifndef SMTP_LIST_H
#define SMTP_LIST_H
/* A small intrusive doubly linked list that knows its length. The node sits in the item, which is on one list at a
 * time. */
#include "smtp/bytes.h"

struct list_node {
    struct list_node *prev, *next;      /* NULL: on no list */
};

struct list {
    struct list_node ring;              /* first is ring.next; the ring itself when empty */
    size_t n;
};

#define LIST_ITEM(node, type, member) ((type *)(void *)((char *)(node) - offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->ring.prev = l->ring.next = &l->ring;
    l->n = 0;
}

static inline struct list_node *list_first(const struct list *l)
{
    return l->n ? l->ring.next : NULL;
}

static inline struct list_node *list_last(const struct list *l)
{
    return l->n ? l->ring.prev : NULL;
}

static inline struct list_node *list_next(const struct list *l, const struct list_node *node)
{
    return node->next == &l->ring ? NULL : node->next;
}

static inline void list_add_before(struct list *l, struct list_node *at, struct list_node *node)
{
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
    l->n++;
}

static inline void list_add_first(struct list *l, struct list_node *node)
{
    list_add_before(l, l->ring.next, node);
}

static inline void list_add_last(struct list *l, struct list_node *node)
{
    list_add_before(l, &l->ring, node);
}

static inline void list_remove(struct list *l, struct list_node *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = node->next = NULL;
    l->n--;
}
#endif
