import {
  Anchor,
  AppShell,
  Avatar,
  Badge,
  Button,
  Container,
  Group,
  Image,
  Menu,
  NavLink,
  Stack,
  Text,
  Title,
} from '@mantine/core'
import { Link, Route, Switch, useLocation } from 'wouter'
import { mayReview, waitsForMe } from './answering.ts'
import { call, useLoaded } from './api.ts'
import { AccessPage } from './pages/access.tsx'
import { KeepingPage } from './pages/keeping.tsx'
import { LinkSlackPage } from './pages/link-slack.tsx'
import { ReplayPage } from './pages/replay.tsx'
import { RequestPage } from './pages/request.tsx'
import { RequestsPage } from './pages/requests.tsx'
import { ReviewsPage } from './pages/reviews.tsx'
import { SearchPage } from './pages/search.tsx'
import { SessionsPage } from './pages/sessions.tsx'
import { SignInPage } from './pages/sign-in.tsx'
import type { Me, Page, RequestEntry, ReviewEntry } from './types.ts'

export function App() {
  const me = useLoaded<Me>('/api/me', 60_000)
  if (me.error?.status === 401) return <SignInPage error={undefined} />
  if (me.value !== undefined) return <Signed me={me.value} />
  return me.error === undefined ? null : <SignInPage error={me.error} />
}

function Signed({ me }: { me: Me }) {
  const [location] = useLocation()
  const pending = useLoaded<Page<RequestEntry>>('/api/requests?state=pending', 5_000)
  const waiting = (pending.value?.items ?? []).filter(request => waitsForMe(request, me)).length
  const reviews = useLoaded<Page<ReviewEntry>>('/api/reviews?state=open', 15_000)
  const unseen = (reviews.value?.items ?? []).filter(review => mayReview(review, me)).length
  const signOut = () =>
    void call('POST', '/auth/logout', {}).finally(() =>
      location === '/' ? window.location.reload() : window.location.assign('/'),
    )
  const pages = [
    { path: '/', label: 'Access', count: 0 },
    { path: '/requests', label: 'Requests', count: waiting },
    { path: '/sessions', label: 'Sessions', count: 0 },
    { path: '/search', label: 'Search', count: 0 },
    { path: '/reviews', label: 'Reviews', count: unseen },
  ]
  const here = (path: string) => (path === '/' ? location === '/' : location.startsWith(path))
  return (
    <AppShell header={{ height: 56 }} padding={{ base: 'xs', sm: 'md' }}>
      <AppShell.Header>
        <Container size="lg" h="100%" px={{ base: 'xs', sm: 'md' }}>
          <Group h="100%" justify="space-between" wrap="nowrap" gap="xs">
            <Group gap={4} wrap="nowrap" component="nav" style={{ minWidth: 0, overflowX: 'auto' }}>
              <Image src="/icon.svg" w={24} alt="Sallyport" />
              <Title order={1} size="h4" ml={4} mr="md" visibleFrom="sm">
                Sallyport
              </Title>
              {pages.map(page => (
                <NavLink
                  key={page.path}
                  component={Link}
                  href={page.path}
                  label={page.label}
                  active={here(page.path)}
                  aria-current={here(page.path) ? 'page' : undefined}
                  rightSection={
                    page.count === 0 ? undefined : (
                      <Badge size="sm" circle color="orange" aria-label={`${page.count} wait for you`}>
                        {page.count}
                      </Badge>
                    )
                  }
                  w="auto"
                  px={{ base: 8, sm: 'sm' }}
                  style={{ borderRadius: 'var(--mantine-radius-md)' }}
                  noWrap
                />
              ))}
            </Group>
            <Menu position="bottom-end" width={260}>
              <Menu.Target>
                <Button
                  variant="subtle"
                  color="gray"
                  size="compact-md"
                  px={4}
                  style={{ flexShrink: 0 }}
                  aria-label={`Menu of ${me.subject.name}`}
                >
                  <Avatar name={me.subject.name} color="initials" size={28} />
                  <Text component="span" size="sm" fw={500} ml={8} visibleFrom="sm">
                    {me.subject.name}
                  </Text>
                </Button>
              </Menu.Target>
              <Menu.Dropdown>
                <Stack gap={0} px="sm" py="xs">
                  <Text size="sm" fw={600}>
                    {me.subject.name}
                  </Text>
                  <Text size="xs" c="dimmed">
                    {me.subject.email}
                  </Text>
                  <Text size="xs" c="dimmed">
                    Groups: {me.subject.groups.join(', ') || 'none'}
                  </Text>
                </Stack>
                <Menu.Divider />
                <Menu.Item component={Link} href="/link">
                  {me.slack === null ? 'Link Slack' : 'Slack account'}
                </Menu.Item>
                <Menu.Item component={Link} href="/keeping">
                  Retention and erasures
                </Menu.Item>
                <Menu.Item onClick={signOut}>Sign out</Menu.Item>
              </Menu.Dropdown>
            </Menu>
          </Group>
        </Container>
      </AppShell.Header>
      <AppShell.Main>
        <Container size="lg" px={{ base: 0, sm: 'md' }} pb="xl">
          <Switch>
            <Route path="/">
              <AccessPage me={me} />
            </Route>
            <Route path="/requests">
              <RequestsPage me={me} />
            </Route>
            <Route path="/requests/:id">{params => <RequestPage id={params.id} me={me} />}</Route>
            <Route path="/sessions">
              <SessionsPage me={me} />
            </Route>
            <Route path="/reviews">
              <ReviewsPage me={me} />
            </Route>
            <Route path="/sessions/:id">{params => <ReplayPage session={params.id} key={params.id} />}</Route>
            <Route path="/keeping">
              <KeepingPage me={me} />
            </Route>
            <Route path="/search" component={SearchPage} />
            <Route path="/link" component={LinkSlackPage} />
            <Route>
              <Text mt="xl">
                There is no such page.{' '}
                <Anchor component={Link} href="/">
                  Back to the start
                </Anchor>
              </Text>
            </Route>
          </Switch>
        </Container>
      </AppShell.Main>
    </AppShell>
  )
}
